/** An export as the handshake needs to know it: what INFO, GO, LIST and EXPORT_NAME tell a client. */
export interface NegotiableExport {
  readonly name: string;
  /** For people, shown by LIST and INFO_DESCRIPTION; empty: none. */
  readonly description: string;
  readonly sizeBytes: number;
  readonly transmissionFlags: number;
  /** INFO_BLOCK_SIZE: a power of two, >= 512. */
  readonly preferredBlockBytes: number;
  readonly isShuttingDown: boolean;
}

/** The exports a client may ask for. May change at any time; each option sees it as it is then. */
export interface ExportDirectory<E extends NegotiableExport> {
  /** Undefined: no such export. The empty name is the default export. */
  find(name: string): E | undefined;
  list(): readonly E[];
  /** The whole server ends: options are answered ERR_SHUTDOWN. */
  readonly isShuttingDown: boolean;
}
