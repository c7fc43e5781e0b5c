/** An export as the handshake needs to know it: what INFO, GO, LIST and EXPORT_NAME tell a client. */
export interface NegotiableExport {
  readonly name: string;
  /** For people, shown by LIST and INFO_DESCRIPTION; empty: none. */
  readonly description: string;
  readonly sizeBytes: number;
  /** As for a client that has negotiated nothing and may do everything. */
  readonly transmissionFlags: number;
  /** INFO_BLOCK_SIZE: a power of two, >= 512. */
  readonly preferredBlockBytes: number;
  readonly isShuttingDown: boolean;
  /** Metadata contexts it has, by name; the id of each is its place, counted from 1. At most 31. */
  readonly contexts: readonly string[];
}

/** The exports a client may ask for. May change at any time; each option sees it as it is then. */
export interface ExportDirectory<E extends NegotiableExport> {
  /** Undefined: no such export. The empty name is the default export. */
  find(name: string): E | undefined;
  list(): readonly E[];
  /** The whole server ends: options are answered ERR_SHUTDOWN. */
  readonly isShuttingDown: boolean;
}

/** What a client may do with an export. */
export const ACCESS = { NONE: 0, TLS_FIRST: 1, READ: 2, WRITE: 3 } as const;
export type Access = (typeof ACCESS)[keyof typeof ACCESS];

/** "TLS": NOTLS, SELECTIVETLS, FORCEDTLS. SECURED is either of the two after STARTTLS. */
export const TLS_MODE = { OFF: 0, SELECTIVE: 1, FORCED: 2, SECURED: 3 } as const;
export type TlsMode = (typeof TLS_MODE)[keyof typeof TLS_MODE];

/** One client in the eyes of its server: who it is decides what it may. */
export interface ClientRules {
  readonly tls: TlsMode;
  accessTo(one: NegotiableExport): Access;
}

/** Everybody may everything, in the clear. */
export const OPEN_TO_ALL: ClientRules = { tls: TLS_MODE.OFF, accessTo: () => ACCESS.WRITE };
