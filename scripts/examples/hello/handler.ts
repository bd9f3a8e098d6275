// Says hello, and from which cloud.

export default async function hello(request: Request, context: Defaas.Context): Promise<Response> {
  const name = new URL(request.url).searchParams.get('name') ?? 'world';
  return Response.json({
    greeting: `Hello, ${name}!`,
    method: request.method,
    provider: context.provider,
  });
}
