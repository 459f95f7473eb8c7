# Everyday Perl: splitting, hashes, regular expressions, sorting, formatted output.  ARGV: rounds.
use strict;
use warnings;

my @lines = <STDIN>;
for my $round (1 .. $ARGV[0]) {
    my (%count, %by_length, @records);
    for my $line (@lines) {
        if ($line =~ /^(\d+);(\d+);(\d+)\.(\d+);(\w+)$/) {
            push @records, { id => $1, amount => $2 * $round, value => "$3$4", word => $5 };
            next;
        }
        $count{lc $_}++ for $line =~ /\b[a-z]+\b/g;
        (my $changed = $line) =~ s/([aeiou])(\w)/$2$1/g;
        $by_length{length $changed} .= substr($changed, 0, 3);
    }
    for my $word ((sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 19]) {
        printf "%-14s %5d\n", $word, $count{$word};
    }
    for my $r (sort { $a->{amount} <=> $b->{amount} || $a->{id} <=> $b->{id} } @records) {
        print join("|", map { "$_=$r->{$_}" } sort keys %$r), "\n";
    }
    print join(",", map { "$_:" . length $by_length{$_} } sort { $a <=> $b } keys %by_length), "\n";
}
