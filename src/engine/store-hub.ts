/** Which of a repository's files to fetch: the one that is named, else the best quantization that this machine has room for. */
import { AppError } from "../core/errors.ts";
import type { HardwareReading } from "../core/ports.ts";
import { formatBytes } from "../core/units.ts";
import { openHttpGguf } from "../fit/gguf-http.ts";
import { type HubModel, type HubReference, listHubModels, selectHubModel } from "../fit/gguf-hub.ts";
import { specFromMetadata } from "../fit/model.ts";
import type { FitPlan, ModelSpec } from "../fit/types.ts";
import { type LoadWish, planOn } from "./load-plan.ts";
import type { GetOptions } from "./store.ts";
import { chooseQuantization, type QuantizationOffer } from "./store-choice.ts";
import { gated, type HubAccess } from "./store-names.ts";

/** Where the hub is, and how it is reached. */
export interface HubConnection extends HubAccess {
  fetch: typeof globalThis.fetch;
}

/**
 * @param known the model's shape, where the catalogue has it
 * @throws AppError model_not_found, model_does_not_fit, permission_denied for gated models
 */
export async function selectOnHub(
  reference: HubReference,
  access: HubConnection,
  options: GetOptions,
  known?: ModelSpec,
): Promise<HubModel> {
  const { hubUrl, hubToken, fetch } = access;
  const hubOptions = {
    hubUrl,
    fetch,
    signal: options.signal,
    ...(hubToken === undefined ? {} : { token: hubToken }),
  };
  const listing = await listHubModels(reference, hubOptions).catch((thrown) => {
    throw gated(thrown, access, reference);
  });
  if (reference.selection !== undefined || listing.models.length < 2) return selectHubModel(listing, reference);
  const labelled = listing.models.filter(({ quantization }) => quantization !== undefined);
  const sample = labelled.at(-1);
  if (sample === undefined) return selectHubModel(listing, reference);
  const spec = known ?? (await specOnHub(sample.files[0]!.url, hubOptions, reference, access));
  const reading = await options.reading();
  const offers = labelled.map(
    (model): QuantizationOffer<typeof model> => ({
      item: model,
      fileBytes: model.fileBytes,
      ...(model.quantization === undefined ? {} : { quantization: model.quantization }),
      plan: () => planHere(spec, reading, options.wish, model.quantization),
    }),
  );
  const chosen = chooseQuantization(offers, spec.parameterCount);
  if (chosen !== undefined) {
    return selectHubModel(listing, { ...reference, selection: chosen.offer.item.files[0]!.path });
  }
  const smallest = Math.min(...labelled.map(({ fileBytes }) => fileBytes));
  throw new AppError(
    "model_does_not_fit",
    `No quantization of ${reference.owner}/${reference.repo} fits this machine; the smallest has ${formatBytes(smallest)}. See what does: snug fits`,
    { details: { fileBytesSmallest: smallest } },
  );
}

/** The shape of the model in a repository, by the header of one of its files. */
async function specOnHub(
  url: string,
  options: Parameters<typeof openHttpGguf>[1],
  reference: HubReference,
  access: HubConnection,
) {
  const header = await openHttpGguf(url, options).catch((thrown) => {
    throw gated(thrown, access, reference);
  });
  return specFromMetadata(header.metadata, { name: reference.repo });
}

/** A plan for this machine as it is; undefined when it does not fit, or when the planner does not know the mix. */
export function planHere(
  spec: ModelSpec,
  reading: HardwareReading,
  wish: LoadWish = {},
  quantization?: string,
): FitPlan | undefined {
  try {
    const { answer } = planOn(spec, reading, wish, { quantization });
    return answer.kind === "plan" && answer.fits ? answer : undefined;
  } catch (thrown) {
    if (thrown instanceof AppError && thrown.code === "invalid_request") return undefined;
    throw thrown;
  }
}
