/** Questions are about text unless they say otherwise, and our engine loads no projector: a model without its eyes. */
import type { ModelSpec } from "./types.ts";

const views = new WeakMap<ModelSpec, ModelSpec>();

/** The same model without its vision or audio projector; the same object each time, so that caches hold. */
export function textOnly(model: ModelSpec): ModelSpec {
  if (model.projectorBytes === undefined) return model;
  let view = views.get(model);
  if (view === undefined) {
    // Tensors are derived on first use: copying the properties' descriptors leaves that as it is.
    const { projectorBytes: _left, ...descriptors } = Object.getOwnPropertyDescriptors(model);
    view = Object.defineProperties({}, descriptors) as ModelSpec;
    views.set(model, view);
  }
  return view;
}
