// Restriction of a token to certain functions (RFC 9396 authorization details). A token without
// details may invoke any function.
import type { ChainView } from '../../contracts/chain/types.ts';
import { DefaasError } from '../errors.ts';

export const FUNCTION_DETAIL = 'urn:defaas:function';
const MEMBERS: readonly string[] = ['type', 'function', 'actions'];
const MAX_DETAILS = 16;
const MAX_TEXT_LENGTH = 4_096;

export interface FunctionDetail {
  readonly type: typeof FUNCTION_DETAIL;
  /** `owner/name`, the owner as a lower-case address. */
  readonly function: string;
  readonly actions: readonly ['invoke'];
}

/**
 * Reads the `authorization_details` of a token request, a JSON list of `{"type", "function":
 * "owner/name", "actions": ["invoke"]}`. Unknown members are refused, because a limit that is not
 * enforced must not be accepted (RFC 9396 section 5).
 * @throws DefaasError SIGN_IN_REFUSED  another form, type or member, or no such function on this
 *   chain
 */
export function authorizationDetails(
  view: ChainView,
  text: string | null,
): readonly FunctionDetail[] | undefined {
  if (text === null) return undefined;
  const list = listOf(text);
  if (list.length === 0 || list.length > MAX_DETAILS) {
    throw refused(`there must be 1 to ${MAX_DETAILS} details`);
  }
  return list.map((one) => detailOf(view, one));
}

function detailOf(view: ChainView, value: unknown): FunctionDetail {
  const detail = Object(value);
  if (detail.type !== FUNCTION_DETAIL) throw refused(`the type must be ${FUNCTION_DETAIL}`);
  if (!Object.keys(detail).every((name) => MEMBERS.includes(name))) {
    throw refused(`its members are ${MEMBERS.join(', ')} and no other`);
  }
  const { actions } = detail;
  if (!Array.isArray(actions) || actions.length !== 1 || actions[0] !== 'invoke') {
    throw refused('actions must be ["invoke"]');
  }
  const [, owner = '', name = ''] =
    /^([0-9a-z-]{1,63})\/([a-z0-9-]{1,63})$/.exec(String(detail.function).toLowerCase()) ?? [];
  const namespace = view.resolveNamespace(owner);
  const fn = namespace && view.functionOf(namespace, name);
  if (!fn) throw refused('function must be owner/name of a function on this chain');
  return { type: FUNCTION_DETAIL, function: `${fn.namespace}/${fn.name}`, actions: ['invoke'] };
}

function listOf(text: string): readonly unknown[] {
  try {
    const list: unknown = JSON.parse(text.slice(0, MAX_TEXT_LENGTH));
    if (Array.isArray(list)) return list;
  } catch {
    // Not JSON: fall through to the error below.
  }
  throw refused('it must be a JSON list');
}

function refused(why: string): DefaasError {
  return new DefaasError('SIGN_IN_REFUSED', `sign-in: authorization_details: ${why}`, {
    members: { error: 'invalid_authorization_details', error_description: why },
  });
}
