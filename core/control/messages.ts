/**
 * The control protocol: over a unix stream socket, one JSON value a line.
 *
 *   client  {"id": 1, "command": "status", "args": {"name": "data"}}
 *   daemon  {"id": 1, "result": {...}}
 *        or {"id": 1, "error": {"code": "no-device", "exit": 4, "message": "..."}}
 *        or, for a command that streams, any number of {"id": 1, "event": {...}} before either.
 *
 * Ids are the client's; replies come in any order. Unknown keys are refused: a typo is never a
 * silent default.
 */
import { z } from 'zod';
import { ControlError } from './error.ts';
import { parseJson } from './reply.ts';
import type {
  AssembleReport,
  AttachedReport,
  AttachReport,
  CreateReport,
  DepsReport,
  EventsReport,
  DetachReport,
  InfoReport,
  LegAddReport,
  LegRemoveReport,
  LegReport,
  LinesReport,
  ListReport,
  MessageReport,
  RemoveReport,
  ResyncReport,
  ScrubReport,
  StatsReport,
  StatusReport,
  ResizeReport,
  TableChangeReport,
  TargetsReport,
  VersionReport,
  WaitReport,
} from './status.ts';

/** Longest request line: 64 legs of PATH_MAX bytes fit. */
export const MAX_REQUEST_BYTES = 512 * 1024;

const bytes = z.int().nonnegative();
const oneName = z.strictObject({ name: z.string() });
const maybeName = z.strictObject({ name: z.string().optional() });
const nothing = z.strictObject({});
const newLeg = {
  writeMostly: z.boolean().optional(),
  force: z.boolean().optional(),
  /** Makes the leg file, as long as the device, when it is not there. */
  create: z.boolean().optional(),
};

/** Arguments of each command. What they mean is checked by the daemon, which sees the machine. */
const COMMAND_ARGS = {
  create: z.strictObject({
    name: z.string(),
    /** Legs of a new mirror; or `table`. */
    mirror: z.array(z.string()).optional(),
    /** Table lines, separated by newlines; relative paths in them are relative to `cwd`. */
    table: z.string().optional(),
    cwd: z.string().optional(),
    sizeBytes: bytes.optional(),
    log: z.string().optional(),
    /** `internal`, or `external:DIR`: where the native log keeps its metadata. */
    metadata: z.string().optional(),
    regionSizeBytes: bytes.optional(),
    readPolicy: z.string().optional(),
    /** `none`, `writeback`, `LEG=none`, `LEG=writeback`; LEG as in `mirror`. */
    cache: z.array(z.string()).optional(),
    /** `SECONDS` or `LEG=SECONDS`; LEG as in `mirror`. */
    legTimeout: z.array(z.string()).optional(),
    /** Those of `mirror` that are read only where no other leg is good. */
    writeMostly: z.array(z.string()).optional(),
    assumeClean: z.boolean().optional(),
    readOnly: z.boolean().optional(),
    force: z.boolean().optional(),
  }),
  assemble: z.strictObject({
    legs: z.array(z.string()),
    /** Left out: as the set is called. */
    name: z.string().optional(),
    /** Legs that are none of the set are left out. */
    force: z.boolean().optional(),
    /** As of `create`. */
    metadata: z.string().optional(),
    cwd: z.string().optional(),
    /** Legs and metadata files were copied to where they are. */
    moved: z.boolean().optional(),
  }),
  remove: z.strictObject({ name: z.string(), force: z.boolean().optional() }),
  ls: nothing,
  /** `cells`: width of the region map for people; without it there is none. */
  status: z.strictObject({
    name: z.string().optional(),
    cells: z.int().min(0).max(4096).optional(),
  }),
  /** `status --dm`. */
  'status-dm': maybeName,
  table: maybeName,
  info: maybeName,
  targets: nothing,
  deps: oneName,
  version: nothing,
  wait: z.strictObject({
    name: z.string(),
    /** Waits until the event number has passed this; without it, until the device is in sync. */
    eventNr: z.int().nonnegative().optional(),
    timeoutMs: z.int().nonnegative().optional(),
  }),
  /** `flush` false: what is under way ends, but is not made durable (`--noflush`). */
  suspend: z.strictObject({ name: z.string(), flush: z.boolean().optional() }),
  resume: oneName,
  /** Loads a table that the next `resume` makes the live one. */
  reload: z.strictObject({
    name: z.string(),
    table: z.string(),
    cwd: z.string().optional(),
    force: z.boolean().optional(),
  }),
  clear: oneName,
  /** To what its legs have room for, or to a size. */
  resize: z.strictObject({ name: z.string(), sizeBytes: z.int().positive().optional() }),
  message: z.strictObject({
    name: z.string(),
    /** Which target of the table; 0 is the first. */
    sector: z.int().nonnegative().optional(),
    words: z.array(z.string()).min(1),
  }),
  attach: z.strictObject({
    name: z.string(),
    /** /dev/nbdN; without it, the first that is free. */
    device: z.string().optional(),
    connections: z.int(),
    timeoutSeconds: z.int().optional(),
    deadSeconds: z.int().optional(),
  }),
  /** `target`: a device's name, or /dev/nbdN. */
  detach: z.strictObject({ target: z.string() }),
  attached: nothing,
  'leg-add': z.strictObject({ name: z.string(), leg: z.string(), ...newLeg }),
  /** A leg that is there is named by its path or its number. */
  scrub: z.strictObject({
    name: z.string(),
    action: z.enum(['start', 'stop', 'show']),
    /** What to do about differences: nothing, the majority's word, or that of the leg `from`. */
    repair: z.enum(['none', 'majority', 'from-leg']).optional(),
    from: z.string().optional(),
    /** From the start, even if an earlier scrub was stopped half-way. */
    anew: z.boolean().optional(),
  }),
  resync: z.strictObject({
    name: z.string(),
    action: z.enum(['start', 'pause']),
    minBytesPerSecond: z.int().positive().optional(),
    /** 0: no limit. */
    maxBytesPerSecond: bytes.optional(),
  }),
  stats: maybeName,
  events: z.strictObject({
    name: z.string().optional(),
    /** Only events behind this one; without it, all that are remembered. */
    after: z.int().nonnegative().optional(),
    /** Waits so long for one, if there is none. */
    waitMs: z.int().nonnegative().max(3_600_000).optional(),
  }),
  'leg-fail': z.strictObject({ name: z.string(), leg: z.string() }),
  'leg-remove': z.strictObject({ name: z.string(), leg: z.string() }),
  'leg-re-add': z.strictObject({
    name: z.string(),
    leg: z.string(),
    force: z.boolean().optional(),
  }),
  'leg-replace': z.strictObject({
    name: z.string(),
    /** Leaves when `leg` is in sync. */
    old: z.string(),
    leg: z.string(),
    ...newLeg,
  }),
} as const;

export type CommandName = keyof typeof COMMAND_ARGS;
export type CommandArgs<C extends CommandName> = z.infer<(typeof COMMAND_ARGS)[C]>;

export interface CommandResults {
  create: CreateReport;
  assemble: AssembleReport;
  remove: RemoveReport;
  ls: ListReport;
  status: StatusReport;
  'status-dm': LinesReport;
  table: LinesReport;
  info: InfoReport;
  targets: TargetsReport;
  deps: DepsReport;
  version: VersionReport;
  wait: WaitReport;
  suspend: TableChangeReport;
  resume: TableChangeReport;
  reload: TableChangeReport;
  clear: TableChangeReport;
  resize: ResizeReport;
  message: MessageReport;
  'leg-add': LegAddReport;
  'leg-fail': LegReport;
  'leg-remove': LegRemoveReport;
  'leg-re-add': LegReport;
  'leg-replace': LegAddReport;
  attach: AttachReport;
  detach: DetachReport;
  attached: AttachedReport;
  scrub: ScrubReport;
  resync: ResyncReport;
  stats: StatsReport;
  events: EventsReport;
}

const envelope = z.strictObject({
  id: z.int(),
  command: z.string(),
  args: z.record(z.string(), z.unknown()).default({}),
});

/** A request whose command exists; its arguments are still to be read, with `parseArgs`. */
export interface Request {
  readonly id: number;
  readonly command: CommandName;
  readonly args: Readonly<Record<string, unknown>>;
}

/**
 * Reads a line from a client.
 * @throws ControlError bad-request
 */
export function parseRequest(line: string): Request {
  const parsed = envelope.safeParse(parseJson(line));
  if (!parsed.success) {
    throw new ControlError('bad-request', `not a request: ${problemOf(parsed.error)}`);
  }
  const { id, command, args } = parsed.data;
  if (!isCommand(command)) {
    const known = Object.keys(COMMAND_ARGS).join(', ');
    throw new ControlError('bad-request', `unknown command "${command}" (known: ${known})`);
  }
  return { id, command, args };
}

/** The id of a line that may be a broken request, so that its error finds its way; else null. */
export function idOfLine(line: string): number | null {
  const parsed = z.looseObject({ id: z.int() }).safeParse(parseJson(line));
  return parsed.success ? parsed.data.id : null;
}

/** @throws ControlError bad-request */
export function parseArgs<C extends CommandName>(
  command: C,
  args: Readonly<Record<string, unknown>>,
): CommandArgs<C> {
  const parsed = COMMAND_ARGS[command].safeParse(args);
  if (!parsed.success) {
    throw new ControlError('bad-request', `${command}: ${problemOf(parsed.error)}`);
  }
  // The schema was picked by the same key as the type; TypeScript does not follow a union that far.
  return parsed.data as CommandArgs<C>;
}

function isCommand(command: string): command is CommandName {
  return Object.hasOwn(COMMAND_ARGS, command);
}

/** The first complaint, in one line: `size: expected number`. */
export function problemOf(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'invalid';
  const where = issue.path.map(String).join('.');
  const what = issue.message.replace(/^Invalid input: /, '');
  return where === '' ? what : `${where}: ${what}`;
}
