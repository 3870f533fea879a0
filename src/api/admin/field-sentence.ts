/** What is wrong with a form, in the language of the page and with the field's own label. */
import { type AppError, renderChatError } from "../../core/errors.ts";
import { limitNames } from "./form.ts";
import type { View } from "./view.ts";

export type FormName = "key-form" | "engine-form";

export function fieldSentence(form: FormName, error: AppError, { t, locale }: View): string {
  const [first = "", second] = (error.param ?? "").split(".");
  if (first === "limits" || first === "userLimits") {
    const name = limitNames.find((known) => known === second);
    return t.fieldWrong(name === undefined ? t.limits : t.limitNames[name], t.limitsHint);
  }
  const fields: Record<string, [label: string, hint: string]> = {
    name: [t.name, t.nameHint],
    scopes: [t.scopes, t.scopesHint],
    models: [t.models, t.modelsHint],
    expiresAt: [t.expires, t.expiresHint],
    url: [t.url, t.urlHint],
    token: [t.token, t.tokenHint],
    weight: form === "key-form" ? [t.keyWeight, t.keyWeightHint] : [t.weight, t.weightHint],
    priority: [t.priority, t.priorityHint],
  };
  const known = fields[first];
  // English readers get the API's own sentence, which is the more exact one.
  if (known === undefined || locale === "en") return locale === "en" ? error.message : renderChatError(error, locale);
  return t.fieldWrong(...known);
}
