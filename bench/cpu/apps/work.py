"""Everyday Python: classes, dictionaries, strings, sorting, regular expressions, JSON.  argv: rounds."""
import json
import re
import sys


class Account:
    def __init__(self, name):
        self.name, self.balance, self.history = name, 0, []

    def book(self, amount):
        self.balance += amount
        self.history.append(amount)
        return self.balance


def words_of(text):
    counts = {}
    for word in re.findall(r"[a-z]+", text):
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def primes(limit):
    sieve = bytearray([1]) * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, limit, i)))
    return sum(1 for i in range(2, limit) if sieve[i])


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def one_round(number, text):
    accounts = [Account(f"a{i}") for i in range(50)]
    for i in range(3000):
        accounts[i * 7 % 50].book((i * 31 + number) % 1000 - 500)
    ranked = sorted(accounts, key=lambda a: (a.balance, a.name))
    document = json.dumps({a.name: a.history[:20] for a in ranked})
    again = json.loads(document)
    lines = [" ".join(f"{k}={len(v)}" for k, v in again.items())]
    lines += [f"{w}:{c}" for w, c in words_of(text)[:20]]
    lines.append(str(primes(5000) + fib(14) + sum(a.balance for a in ranked)))
    return "\n".join(lines)


content = sys.stdin.buffer.read().decode("latin-1")
for turn in range(int(sys.argv[1])):
    print(one_round(turn, content[turn * 500:turn * 500 + 16000]))
