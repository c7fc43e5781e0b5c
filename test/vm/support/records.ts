// A writer in the guest whose every fsynced record is told to the host: what it may lose and what not
// is known outside of the machine that is cut off.

/**
 * Perl: checks all records of /srv/records, says how many are whole, then appends more; each is on the
 * console when its fsync has returned.
 */
const WRITER = `
use strict; use IO::Handle;
open(my $f, '+>>', '/srv/records') or die; open(my $c, '>', '/dev/console') or die; $c->autoflush(1);
my $n = (-s '/srv/records') / 512;
$n = int($n);
seek($f, 0, 0);
for my $i (1 .. $n) { read($f, my $r, 512) == 512 or die "record $i"; $r eq sprintf("%-511d\\n", $i) or die "record $i is wrong"; }
truncate($f, $n * 512);
print $c "FOUND $n\\n";
exit if @ARGV;
while (1) { $n++; syswrite($f, sprintf("%-511d\\n", $n)) == 512 or die; $f->sync or die; print $c "ACK $n\\n"; }
`;

/** Lines of a script: the writer becomes /root/writer.pl; with an argument it only checks. */
export const INSTALL_WRITER = `cat > /root/writer.pl <<'W'
${WRITER}
W`;

/** The last record whose fsync had returned; 0: none. */
export function acknowledged(console: string): number {
  const told = [...console.matchAll(/^ACK (\d+)\r?$/gm)].map((match) => Number(match[1]));
  return Math.max(0, ...told);
}

/** How many whole records the writer found before it wrote. */
export function found(console: string): number {
  return Number(/FOUND (\d+)/.exec(console)?.[1]);
}
