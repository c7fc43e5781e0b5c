import { kernelCheck } from '../../../daemon/doctor.ts';

it.each([
  ['6.1.0-18-amd64', 'ok'],
  ['5.10.0', 'ok'],
  ['5.7.0-rc1', 'ok'],
  ['5.6.19', 'warn'],
  ['4.19.0-26-amd64', 'warn'],
  ['unknown', 'warn'],
])('Linux %s: %s', (words, verdict) => {
  expect(kernelCheck(words)).toMatchObject({ name: 'kernel', verdict, finding: `Linux ${words}` });
  expect(kernelCheck(words).remedy === null).toBe(verdict === 'ok');
});
