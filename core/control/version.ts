/** The package's version; test/unit/control/version.test.ts holds it to package.json. */
export const VERSION = '0.1.0';

/** Raised when an old client and a new daemon would misunderstand each other. */
export const PROTOCOL_VERSION = 1;
