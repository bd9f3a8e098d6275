// Limits of the Lambda API that more than one part of the emulator needs.

/** Longest time that an asynchronous event waits for its function, seconds. */
export const MAX_EVENT_AGE_SEC = 21_600;
/** Attempts after the first one (Lambda developer guide, asynchronous invocation). */
export const MAX_EVENT_RETRIES = 2;
