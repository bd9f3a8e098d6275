// Says hello, and from which cloud.

interface Context {
  /** Where this call runs: `aws-lambda`, `google-cloud-functions`, `azure-functions` or `local`. */
  readonly provider: string;
}

export default async function hello(request: Request, context: Context): Promise<Response> {
  const name = new URL(request.url).searchParams.get('name') ?? 'world';
  return Response.json({
    greeting: `Hello, ${name}!`,
    method: request.method,
    provider: context.provider,
  });
}
