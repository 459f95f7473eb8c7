-- Everyday SQL: bulk insert, indexes, joins, grouping, updates, deletes.  The table amount says how many rows.
PRAGMA journal_mode = DELETE;
PRAGMA synchronous = OFF;
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE sale(id INTEGER PRIMARY KEY, customer INT, day INT, price INT, note TEXT);
BEGIN;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1 + (SELECT n FROM amount) / 20)
INSERT INTO customer SELECT i, printf('name-%05d', i * 7919 % 100003), 'city' || (i * 31 % 97) FROM c;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < (SELECT n FROM amount))
INSERT INTO sale SELECT i, 1 + i * 271 % (1 + (SELECT n FROM amount) / 20), i * 13 % 365, i * 7919 % 10007,
    substr('the quick brown fox jumps over the lazy dog', 1 + i % 20, i % 17) FROM c;
COMMIT;
CREATE INDEX sale_customer ON sale(customer, day);
CREATE INDEX customer_city ON customer(city);
SELECT city, count(*), sum(price), min(day), max(note) FROM sale JOIN customer ON customer.id = sale.customer
    GROUP BY city ORDER BY 3 DESC, 1 LIMIT 20;
SELECT day, count(DISTINCT customer) FROM sale WHERE price > 5000 GROUP BY day ORDER BY 2 DESC, 1 LIMIT 10;
SELECT count(*) FROM sale WHERE note LIKE '%fox%' OR note GLOB 'qu*';
UPDATE sale SET price = price + (SELECT count(*) FROM customer WHERE city = 'city5') WHERE day BETWEEN 100 AND 130;
DELETE FROM sale WHERE id % 7 = 3;
SELECT name, total FROM (SELECT customer, sum(price) AS total FROM sale GROUP BY customer) JOIN customer ON id = customer
    ORDER BY total DESC, name LIMIT 15;
PRAGMA integrity_check;
