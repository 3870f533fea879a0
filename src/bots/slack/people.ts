/** Who asks and in which language, from users.info, remembered for an hour. */
import * as z from "zod";
import { peopleRememberedMax, personAgeMsMax } from "../../core/limits.ts";
import type { Clock, Logger } from "../../core/ports.ts";
import { localeOfTag } from "../locale/locale.ts";
import type { BotLocale } from "../locale/texts.ts";
import type { Asker } from "../question.ts";
import type { SlackCalls } from "./calls.ts";
import { isUnsupported, toPlatformError } from "./errors.ts";

export interface Person {
  id: string;
  name: string;
  /** Undefined when Slack does not tell. */
  locale: BotLocale | undefined;
  /** Administrator or owner of the workspace. */
  isManager: boolean;
  /** Counts as an administrator of the bot by that. */
  isAdmin: boolean;
}

const profileSchema = z.object({
  user: z.object({
    name: z.string().optional(),
    real_name: z.string().optional(),
    locale: z.string().optional(),
    is_admin: z.boolean().optional(),
    is_owner: z.boolean().optional(),
    profile: z.object({ display_name: z.string().optional(), real_name: z.string().optional() }).optional(),
  }),
});

export class People {
  readonly #calls: SlackCalls;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #managersAreAdmins: boolean;
  readonly #known = new Map<string, { at: number; person: Promise<Person>; settled?: Person }>();

  /** @param managersAreAdmins whether who administers the workspace administers the bot */
  constructor(calls: SlackCalls, clock: Clock, logger: Logger, managersAreAdmins = true) {
    this.#managersAreAdmins = managersAreAdmins;
    this.#calls = calls;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Never rejects: who cannot be looked up is known by id. */
  async find(id: string): Promise<Person> {
    const now = this.#clock.now();
    const known = this.#known.get(id);
    if (known !== undefined && now - known.at < personAgeMsMax) return await known.person;
    const entry: { at: number; person: Promise<Person>; settled?: Person } = { at: now, person: this.#read(id) };
    this.#known.delete(id);
    this.#known.set(id, entry);
    const oldest = this.#known.keys().next().value;
    if (this.#known.size > peopleRememberedMax && oldest !== undefined) this.#known.delete(oldest);
    entry.settled = await entry.person;
    return entry.settled;
  }

  /** Without asking Slack. */
  nameOf(id: string): string | undefined {
    return this.#known.get(id)?.settled?.name;
  }

  async #read(id: string): Promise<Person> {
    try {
      const answer = await this.#calls.call("users.info", { user: id, include_locale: true });
      const { user } = profileSchema.parse(answer);
      const isManager = user.is_admin === true || user.is_owner === true;
      const names = [user.profile?.display_name, user.profile?.real_name, user.real_name, user.name];
      return {
        id,
        name: names.find((name) => name !== undefined && name !== "") ?? id,
        locale: user.locale === undefined ? undefined : localeOfTag(user.locale),
        isManager,
        isAdmin: isManager && this.#managersAreAdmins,
      };
    } catch (thrown) {
      const error = toPlatformError(thrown);
      this.#logger.warn("a person could not be looked up", { userId: id, platformCode: error.platformCode });
      // A missing scope stays missing for the hour; what is passing is asked again next time.
      if (!isUnsupported(error)) this.#known.delete(id);
      return { id, name: id, locale: undefined, isManager: false, isAdmin: false };
    }
  }
}

/** @param admins ids of those who count as administrators whatever Slack says */
export function askerOf({ id, name, isManager, isAdmin }: Person, admins: readonly string[]): Asker {
  const listed = admins.includes(id);
  return { id, name, roleIds: [], isAdmin: isAdmin || listed, isManager: isManager || listed };
}
