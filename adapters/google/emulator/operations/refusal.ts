// The refusals of the control plane, and their form on the wire (google.rpc.Status as JSON).

/** Canonical codes with their HTTP statuses (google/rpc/code.proto). */
const HTTP_STATUS = {
  INVALID_ARGUMENT: 400,
  FAILED_PRECONDITION: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  ABORTED: 409,
  RESOURCE_EXHAUSTED: 429,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
} as const;

/** An operation throws it. The control plane answers with its status and message. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: keyof typeof HTTP_STATUS;
  readonly reason: string | undefined;
  readonly httpStatus: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: Refusal['status'],
    message: string,
    more: { reason?: string; httpStatus?: number; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.status = status;
    this.reason = more.reason;
    this.httpStatus = more.httpStatus ?? HTTP_STATUS[status];
    this.headers = more.headers ?? {};
  }
}

export function notFound(name: string): Refusal {
  return new Refusal('NOT_FOUND', `Resource '${name}' was not found`);
}

/** Another operation on the same function is not done yet. */
export function busy(): Refusal {
  return new Refusal('ABORTED', 'unable to queue the operation');
}

/** The document of an error. */
export function refusalDocument({ httpStatus, message, status, reason }: Refusal) {
  const type = 'type.googleapis.com/google.rpc.ErrorInfo';
  const details = reason === undefined ? [] : [{ '@type': type, reason, domain: 'googleapis.com' }];
  return { error: { code: httpStatus, message, status, details } };
}
