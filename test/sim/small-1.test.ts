import { holdsInEverySecondPart } from './small-part.ts';

holdsInEverySecondPart(1);
