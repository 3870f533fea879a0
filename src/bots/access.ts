/** Who may talk to the bot, and where. */
import type { Asker, Whereabouts } from "./question.ts";

export interface AccessList {
  servers: readonly string[];
  channels: readonly string[];
  roles: readonly string[];
  users: readonly string[];
}

export interface AccessRules {
  allow: AccessList;
  deny: AccessList;
}

export const NO_LIST: AccessList = { servers: [], channels: [], roles: [], users: [] };
export const OPEN_ACCESS: AccessRules = { allow: NO_LIST, deny: NO_LIST };

/**
 * Any denial decides. Then, where places are listed, a server message must be in one of them (a thread counts as its
 * channel), and where people are listed, the asker must be one of them. Direct messages are no listed place's matter:
 * they are open unless people are listed.
 */
export function isAllowed({ allow, deny }: AccessRules, asker: Asker, where: Whereabouts): boolean {
  if (isListedPlace(deny, where) || isListedPerson(deny, asker)) return false;
  const placesListed = allow.servers.length + allow.channels.length > 0;
  const peopleListed = allow.roles.length + allow.users.length > 0;
  if (placesListed && !where.direct && !isListedPlace(allow, where)) return false;
  return !peopleListed || isListedPerson(allow, asker);
}

function isListedPlace(list: AccessList, where: Whereabouts): boolean {
  return (
    (where.serverId !== undefined && list.servers.includes(where.serverId)) ||
    list.channels.includes(where.channelId) ||
    (where.parentChannelId !== undefined && list.channels.includes(where.parentChannelId))
  );
}

function isListedPerson(list: AccessList, asker: Asker): boolean {
  return list.users.includes(asker.id) || asker.roleIds.some((id) => list.roles.includes(id));
}
