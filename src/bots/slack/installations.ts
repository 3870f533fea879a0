/** Workspaces that installed the bot, each with its own token; at rest they are encrypted. */
import * as z from "zod";
import type { Clock, InstallationStore } from "../../core/ports.ts";
import type { Seal } from "../seal.ts";
import { identitySchema } from "./workspace.ts";

const installationSchema = z.object({ botToken: z.string(), identity: identitySchema });

export type Installation = z.infer<typeof installationSchema>;

export interface Installations {
  teamIds(): Promise<string[]>;
  /** @throws AppError invalid_configuration when it was encrypted with another key */
  find(teamId: string): Promise<Installation | undefined>;
  keep(installation: Installation): Promise<void>;
  remove(teamId: string): Promise<void>;
}

export function createInstallations(store: InstallationStore, seal: Seal, clock: Clock): Installations {
  return {
    teamIds: () => store.teamIds(),
    async find(teamId) {
      const sealed = await store.read(teamId);
      if (sealed === undefined) return undefined;
      return installationSchema.parse(JSON.parse(await seal.open(sealed, teamId)));
    },
    async keep(installation) {
      const { team_id: teamId } = installation.identity;
      await store.write(teamId, await seal.close(JSON.stringify(installation), teamId), clock.now());
    },
    remove: (teamId) => store.remove(teamId),
  };
}
