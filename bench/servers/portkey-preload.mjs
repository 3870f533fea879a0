/**
 * Loaded before @portkey-ai/gateway 1.15.2. Installed as it is today it answers every stream on Node with a 500, because
 * it writes to the headers of a fetched reply, which are immutable; here it gets replies whose headers are its own.
 */
const { fetch: send, Response } = globalThis;

globalThis.fetch = async (input, init) => {
  const { body, status, headers } = await send(input, init);
  return new Response(body, { status, headers: new Headers(headers) });
};
