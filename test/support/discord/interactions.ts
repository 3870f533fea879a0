/** Interactions the stand-in has sent: their clocks, their one acknowledgement and their messages. */
import type { StandChannel, StandMessage, StandUser } from "./world.ts";

export interface StandInteraction {
  id: string;
  token: string;
  user: StandUser;
  channel: StandChannel;
  createdAt: number;
  /** Callback type it was acknowledged with. */
  ackType?: number;
  ackedAt?: number;
  ephemeral: boolean;
  /** The deferred reply is still to be filled. */
  originalPending: boolean;
  original?: StandMessage;
  followUps: StandMessage[];
  /** The message a pressed button stands on. */
  source?: StandMessage;
  choices?: { name: string; value: string }[];
  modal?: { custom_id: string; title: string };
  /** Name of the command, for messages. */
  name?: string;
  /** What was sent. */
  payload?: Record<string, unknown>;
  /** The app is installed by the user alone. */
  userInstalledOnly: boolean;
}

export const ackMsMax = 3000;
export const tokenMsMax = 15 * 60_000;
export const followUpsUserInstalledMax = 5;
