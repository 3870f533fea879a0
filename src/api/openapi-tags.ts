/** Under which headings the routes stand in the description and on its page. */

interface Tag {
  name: string;
  description: string;
  /** What the paths under it begin with. */
  paths: readonly string[];
}

const tags: readonly Tag[] = [
  {
    name: "chat",
    description: "Answers of a model, whole or as a stream",
    paths: ["/v1/chat/completions", "/v1/completions", "/v1/responses"],
  },
  { name: "vectors", description: "Embeddings and rankings", paths: ["/v1/embeddings", "/v1/rerank"] },
  { name: "models", description: "What can be asked", paths: ["/v1/models"] },
  {
    name: "planner",
    description: "What fits on which card; needs no engine and no key",
    paths: ["/v1/fits", "/v1/gpus", "/v1/models/catalogue"],
  },
  { name: "compare", description: "A model measured at several precisions", paths: ["/v1/compare"] },
  {
    name: "usage",
    description: "What was asked, by whom, and how it went",
    paths: ["/v1/usage", "/v1/feedback"],
  },
  { name: "keys", description: "Who may ask, and how much", paths: ["/v1/keys"] },
  {
    name: "engines",
    description: "The machines that answer, and what is loaded on them",
    paths: ["/v1/engines", "/v1/warnings", "/v1/link"],
  },
  { name: "requests", description: "What is being answered now", paths: ["/v1/requests"] },
  {
    name: "service",
    description: "State and description of this server",
    paths: ["/health", "/metrics", "/openapi.json"],
  },
];

/** Of the document, in the order of its page. */
export const apiTags = tags.map(({ name, description }) => ({ name, description }));

/** The tag with the longest beginning of the path; undefined for a path that nobody has put anywhere. */
export function tagOf(path: string): string | undefined {
  const found = tags.flatMap(({ name, paths }) =>
    paths.filter((begin) => path === begin || path.startsWith(`${begin}/`)).map((begin) => ({ name, begin })),
  );
  return found.sort((a, b) => b.begin.length - a.begin.length)[0]?.name;
}
