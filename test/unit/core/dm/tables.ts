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
    'line 1: unknown target "stripe", known are error, linear, zero',
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
  'a backslash at the end': [
    '0 8 linear /dev/a\\',
    'a backslash at the end of a line escapes nothing',
  ],
};
