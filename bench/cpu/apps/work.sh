# Everyday shell: loops, arithmetic, substitutions, pipes of small programs.  $1: rounds.
cd /tmp || exit 1
cat >words
round=0
while [ $round -lt "$1" ]; do
    sum=0 i=0
    while [ $i -lt 400 ]; do
        sum=$(((sum * 31 + i * round) % 65521))
        case $i in
        *7) name=n$i ;;
        *) name=${name%?} ;;
        esac
        i=$((i + 1))
    done
    echo "round $round sum $sum $name"
    frequent=$(grep -ao 'ba[a-z]*' words | sort | uniq -c | sort -rn | head -n 5)
    echo "$frequent" | sed 's/^ *//'
    for part in one two three; do
        echo "$part $(head -c 2000 words | cksum | cut -d' ' -f1) $(basename "/some/where/$part.txt" .txt)"
    done
    round=$((round + 1))
done
