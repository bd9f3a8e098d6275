// Checks an IBAN (ISO 13616): its form, and its check digits (ISO 7064, MOD 97-10). The caller
// pays, and the publisher gets a share of the price: `publisherBps` in defaas.json.

/** Country, check digits, account; at most 34 characters. */
const FORM = /^([A-Z]{2})(\d{2})([A-Z0-9]{11,30})$/;

export default (async (request) => {
  const given = new URL(request.url).searchParams.get('iban');
  if (given === null) return Response.json({ error: 'add ?iban=' }, { status: 400 });
  const iban = given.replaceAll(/\s/g, '').toUpperCase();
  const [, country, digits, account] = FORM.exec(iban) ?? [];
  const isValid = country !== undefined && remainder(`${account}${country}${digits}`) === 1;
  return Response.json({ iban, valid: isValid, ...(isValid && { country }) });
}) satisfies Defaas.Handler;

/** The number modulo 97, a letter being two digits: A is 10, Z is 35. */
function remainder(text: string): number {
  const digits = [...text].map((letter) => Number.parseInt(letter, 36)).join('');
  return Number(BigInt(digits) % 97n);
}
