/** Deadlines of the settings: seconds there, milliseconds everywhere else. */
import { answerMsMax } from "../core/limits.ts";

export interface Deadlines {
  firstTokenMsMax?: number;
  totalMsMax?: number;
}

/** @param seconds unset, or no number from 1 to an hour: as long as engines take */
export function deadlinesOf(seconds: { firstToken?: number | undefined; answer?: number | undefined }): Deadlines {
  const firstTokenMsMax = toMs(seconds.firstToken);
  const totalMsMax = toMs(seconds.answer);
  return {
    ...(firstTokenMsMax === undefined ? {} : { firstTokenMsMax }),
    ...(totalMsMax === undefined ? {} : { totalMsMax }),
  };
}

function toMs(seconds: number | undefined): number | undefined {
  const ms = (seconds ?? 0) * 1000;
  return ms >= 1000 && ms <= answerMsMax ? ms : undefined;
}
