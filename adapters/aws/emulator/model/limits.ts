// Limits of the Lambda API that more than one part of the emulator needs.

/** Longest time that an asynchronous event waits for its function, seconds. */
export const MAX_EVENT_AGE_SEC = 21_600;
/** Attempts after the first one (Lambda developer guide, asynchronous invocation). */
export const MAX_EVENT_RETRIES = 2;
/** Tags of a function. */
export const MAX_TAGS = 50;
/** Largest zip in a request and largest unpacked code, bytes (in the API's errors). */
export const MAX_ZIP_BYTES = 52_428_800;
export const MAX_UNPACKED_BYTES = 262_144_000;
/** Code of all functions and layers of an account (Lambda quotas). */
export const MAX_CODE_BYTES = 80_530_636_800;
