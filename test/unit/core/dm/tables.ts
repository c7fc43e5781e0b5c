/** Tables and what they are: data, so that a new rule is a new line. */
export const VALID: Readonly<Record<string, readonly [text: string, formatted: string]>> = {
  'one line': ['0 8 zero', '0 8 zero\n'],
  'two lines': ['0 8 zero\n8 8 error\n', '0 8 zero\n8 8 error\n'],
  'blank lines and comments': ['\n  # a table\n\n0 8 zero\n\t#end\n\n', '0 8 zero\n'],
  'any whitespace': ['\t0   8\tzero  \r\n', '0 8 zero\n'],
  linear: ['0 100 linear /dev/a 24', '0 100 linear /dev/a 24\n'],
  'a path with a space': ['0 1 linear /srv/my\\ disk 0', '0 1 linear /srv/my\\ disk 0\n'],
  'a path with a backslash': ['0 1 linear a\\\\b 0', '0 1 linear a\\\\b 0\n'],
  'a path with a needless backslash': ['0 1 linear \\a\\b 0', '0 1 linear ab 0\n'],
  'a path with #': ['0 1 linear a#b 0', '0 1 linear a#b 0\n'],
  'a URI': ['0 1 linear nbd://host/a 0', '0 1 linear nbd://host/a 0\n'],
  'another device': ['0 1 linear dm:base 0', '0 1 linear dm:base 0\n'],
  striped: ['0 24 striped 2 4 /dev/a 7 /dev/b 0', '0 24 striped 2 4 /dev/a 7 /dev/b 0\n'],
  'striped over one': ['0 12 striped 1 12 /dev/a 0', '0 12 striped 1 12 /dev/a 0\n'],
  'delay of one kind': ['0 8 delay /dev/a 5 500', '0 8 delay /dev/a 5 500\n'],
  'delay of two kinds': ['0 8 delay a 0 0 b 2 30', '0 8 delay a 0 0 b 2 30\n'],
  'delay of three kinds': ['0 8 delay a 0 0 a 0 30 b 1 2', '0 8 delay a 0 0 a 0 30 b 1 2\n'],
  'flakey without features': [
    '0 8 flakey /dev/a 3 10 5',
    '0 8 flakey /dev/a 3 10 5 2 error_reads error_writes\n',
  ],
  'flakey with features': [
    '0 8 flakey a 0 0 5 6 corrupt_bio_byte 32 r 1 0 drop_writes',
    '0 8 flakey a 0 0 5 6 drop_writes corrupt_bio_byte 32 r 1 0\n',
  ],
  'flakey that only fails writes': [
    '0 8 flakey a 0 1 5 1 error_writes',
    '0 8 flakey a 0 1 5 1 error_writes\n',
  ],
  'flakey at random': [
    '0 8 flakey a 0 1 5 5 error_reads random_write_corrupt 1000 random_read_corrupt 1000000000',
    '0 8 flakey a 0 1 5 5 error_reads random_read_corrupt 1000000000 random_write_corrupt 1000\n',
  ],
  dust: ['0 8 dust /dev/a 0 4096', '0 8 dust /dev/a 0 4096\n'],
  'leading zeros': ['00 08 zero', '0 8 zero\n'],
  'the largest there can be': ['0 17592186044415 zero', '0 17592186044415 zero\n'],
};

export const INVALID: Readonly<Record<string, readonly [text: string, message: string]>> = {
  'nothing at all': [
    '',
    'the table is empty, at least one line START LEN TARGET ARGS... is wanted',
  ],
  'only a comment': ['# 0 8 zero', 'the table is empty'],
  'too few words': ['0 8', 'table line 1: START LEN TARGET ARGS... is wanted'],
  'not at 0': ['8 8 zero', 'line 1: a gap before sector 8: the first target must start at 0'],
  'a gap': ['0 8 zero\n9 8 zero', 'line 2: a gap before sector 9: the target before ends at 8'],
  'an overlap': [
    '0 8 zero\n\n7 8 zero',
    'line 3: the target starts at 7 and overlaps the one before, which ends at 8',
  ],
  'the same line twice': ['0 8 zero\n0 8 zero', 'line 2: the target starts at 0 and overlaps'],
  'no length': ['0 0 zero', 'the length is 0, a target has at least 1 sector'],
  'junk behind the start': ['0x 8 zero', 'the start is "0x", a whole number of sectors is wanted'],
  'junk behind the length': [
    '0 8k zero',
    'the length is "8k", a whole number of sectors is wanted',
  ],
  'a negative start': ['-1 8 zero', 'the start is "-1"'],
  'a fraction': ['0 8.5 zero', 'the length is "8.5"'],
  hexadecimal: ['0 0x10 zero', 'the length is "0x10"'],
  'an exponent': ['0 1e3 zero', 'the length is "1e3"'],
  'past 2^53 bytes': [
    '0 17592186044416 zero',
    'the length 17592186044416 is past the last sector there can be, 17592186044415',
  ],
  'past 2^64': ['0 99999999999999999999 zero', 'is past the last sector there can be'],
  'past 2^53 in sum': [
    '0 17592186044415 zero\n17592186044415 1 zero',
    'line 2: the target ends past the last sector there can be',
  ],
  'an unknown target': [
    '0 8 stripe',
    'line 1: unknown target "stripe", known are delay, dust, error, flakey, linear, striped, zero',
  ],
  'a target in capitals': ['0 8 ZERO', 'unknown target "ZERO"'],
  'arguments for zero': ['0 8 zero 1', 'zero takes no arguments, there are 1'],
  'arguments for error': ['0 8 error a b', 'error takes no arguments, there are 2'],
  'linear without offset': [
    '0 8 linear /dev/a',
    'linear takes 2 arguments, DEV OFFSET, there are 1',
  ],
  'linear with more': [
    '0 8 linear /dev/a 0 1',
    'linear takes 2 arguments, DEV OFFSET, there are 3',
  ],
  'linear with a bad offset': ['0 8 linear /dev/a 1k', 'the offset on /dev/a is "1k"'],
  'stripes that do not divide the length': [
    '0 25 striped 2 4 a 0 b 0',
    'the length 25 is no multiple of 2 stripes times 4 sectors',
  ],
  'no stripes': ['0 8 striped 0 4', 'striped has 1 to 64 stripes, not 0'],
  'stripes without a chunk': ['0 8 striped 2', 'striped takes #STRIPES CHUNK_SECTORS'],
  'a chunk of nothing': ['0 8 striped 1 0 a 0', 'the chunk size is 0'],
  'too few stripes': ['0 8 striped 2 4 a 0', '4 words, there are 2'],
  'a stripe without offset': ['0 8 striped 1 4 a', '2 words, there are 1'],
  'delay with 4 words': ['0 8 delay a 0 1 b', 'delay takes 3, 6 or 9 arguments'],
  'delay with a fraction': ['0 8 delay a 0 1.5', 'the delay in milliseconds is "1.5"'],
  'flakey that is never': ['0 8 flakey a 0 0 0', 'intervals are both 0, their sum must not be'],
  'flakey with too few words': ['0 8 flakey a 0 1', 'flakey takes DEV OFFSET UP DOWN'],
  'flakey with a wrong count': [
    '0 8 flakey a 0 1 1 2 drop_writes',
    'the number of feature words is 2, but 1 words follow',
  ],
  'flakey with an unknown feature': [
    '0 8 flakey a 0 1 1 1 lose_writes',
    'unknown flakey feature "lose_writes", known: drop_writes',
  ],
  'flakey that drops and fails': [
    '0 8 flakey a 0 1 1 2 drop_writes error_writes',
    'drop_writes and error_writes exclude each other',
  ],
  'flakey that drops and corrupts writes': [
    '0 8 flakey a 0 1 1 6 drop_writes corrupt_bio_byte 1 w 0 0',
    'drop_writes and corrupt_bio_byte of writes exclude each other',
  ],
  'flakey with a feature twice': [
    '0 8 flakey a 0 1 1 2 error_reads error_reads',
    'the flakey feature error_reads is given twice',
  ],
  'flakey with byte 0': [
    '0 8 flakey a 0 1 1 5 corrupt_bio_byte 0 r 0 0',
    'the byte of corrupt_bio_byte is 0, they count from 1',
  ],
  'flakey with a value too large': [
    '0 8 flakey a 0 1 1 5 corrupt_bio_byte 1 r 256 0',
    'the value of corrupt_bio_byte is 256, at most 255',
  ],
  'flakey with a direction of its own': [
    '0 8 flakey a 0 1 1 5 corrupt_bio_byte 1 x 1 0',
    'the direction of corrupt_bio_byte is "x", r or w is wanted',
  ],
  'flakey that ends in a feature': [
    '0 8 flakey a 0 1 1 4 corrupt_bio_byte 1 r 1',
    'corrupt_bio_byte takes 4 words, N r|w VALUE FLAGS, not 3',
  ],
  'flakey with too likely a fault': [
    '0 8 flakey a 0 1 1 2 random_read_corrupt 1000000001',
    'random_read_corrupt is "1000000001", 0 to 1000000000 is wanted',
  ],
  'dust without a block size': ['0 8 dust a 0', 'dust takes 3 arguments, DEV OFFSET BLOCK_BYTES'],
  'dust in odd blocks': [
    '0 8 dust a 0 1000',
    'the block size is 1000 bytes, a power of two from 512',
  ],
  'a backslash at the end': [
    '0 8 linear /dev/a\\',
    'a backslash at the end of a line escapes nothing',
  ],
};
