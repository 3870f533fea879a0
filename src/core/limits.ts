/** Every bound in one place, named noun + unit + qualifier, with its reason. */

/** Chat requests carry text only; 4 MiB is more than a million tokens. Larger bodies are refused unread. */
export const requestBodyBytesMax = 4 * 1024 * 1024;

/** A conversation longer than this does not fit a context anyway; it only costs template time. */
export const messagesPerRequestMax = 2048;

/** OpenAI allows 4; a few more do no harm, hundreds would slow every token. */
export const stopTextsMax = 16;
export const stopTextCharsMax = 256;

/** `user` is an id, not a document. */
export const userIdCharsMax = 256;

/** A model name, an `hf:` reference or a URL. */
export const modelNameCharsMax = 512;

/** Waiting requests on one engine; beyond it a quick refusal is kinder than a long wait. */
export const queueRequestsMax = 64;

/** Time a request may wait for a slot before it is refused. */
export const queueWaitMsMax = 120_000;

/** Longest silence of a running answer before the llama child is taken for hung and replaced. */
export const tokenSilenceMsMax = 60_000;

/** Loading a large file from a slow disk takes minutes; after this the child is replaced. */
export const modelLoadMsMax = 600_000;

/** Tokens evaluated between two looks at the abort signal during prefill. */
export const prefillChunkTokens = 256;

/** IPC frames gather tokens for at most this long; a person cannot see 8 ms. */
export const tokenFlushMs = 8;

/** Events buffered for a slow reader before its producer is paused. */
export const eventsBufferedMax = 256;

/** Restart delays of a crashed child: first, and the most it grows to by doubling. */
export const restartDelayMsFirst = 100;
export const restartDelayMsMax = 30_000;

/** Crashes in a row without a finished answer between them before the engine is called failed. */
export const restartsInARowMax = 5;

/** Running answers may go on this long after the first Ctrl-C; then they are cut with an error event. */
export const drainMsMax = 10_000;

/** Rows one usage answer may hold; reports page or aggregate in SQL. */
export const usageRowsMax = 1000;

/** D1 binds at most 100 parameters a statement. */
export const boundParametersMax = 100;

/** Characters of a /fits query. */
export const fitQueryCharsMax = 500;

/** Longest bearer token looked at; longer ones are refused unhashed. */
export const apiKeyCharsMax = 200;

/** A comment this often keeps proxies from closing a silent stream; most give up after 60 s, some after 30. */
export const keepAliveMs = 15_000;

/** Admission to first byte from an engine elsewhere: the longest queue wait and as long again for a large prompt. */
export const firstByteMsMax = 240_000;

/** A health question is cheap; who does not answer it in this time counts as away. */
export const healthMsMax = 2_000;

/** Lists and error bodies from an engine elsewhere; more is not read. */
export const engineReplyBytesMax = 1024 * 1024;

/** One line of an event stream. A token is a few bytes; a whole answer in one event still fits. */
export const streamLineCharsMax = 1024 * 1024;

/** Error text of an engine elsewhere that is passed on. */
export const engineMessageCharsMax = 500;

/** How long an aborted engine may take to report what it produced; the row is then settled without it. */
export const abortReportMsMax = 5_000;

/** Text parts of one message; they are joined. */
export const textPartsMax = 256;

/** Time a statement waits for another process's write lock on the ledger. */
export const ledgerBusyMsMax = 5_000;

/** The largest real headers (262k tokens with merges) are near 20 MB; a longer one is not a model. */
export const ggufHeaderBytesMax = 64 * 1024 * 1024;

/** Real files have under 200 metadata keys. */
export const ggufMetadataKeysMax = 4096;

/** The GGUF specification's bound. */
export const ggufKeyBytesMax = 65_535;

/** Real files have up to a few thousand tensors; 65536 descriptions still take only some 20 MB. */
export const ggufTensorsMax = 65_536;

/** ggml stores a tensor's name in 64 bytes with its terminator, and four dimensions. */
export const ggufTensorNameBytesMax = 63;
export const ggufDimensionsMax = 4;

/** Text and lists kept from one header; token lists are counted and passed over instead. */
export const ggufKeptBytesMax = 8 * 1024 * 1024;

/** Lists up to this length are kept: per-layer facts, not vocabularies. */
export const ggufListItemsMax = 4096;

/** Alignment of tensor data; 32 everywhere in practice. */
export const ggufAlignmentMax = 1024 * 1024;

/** 16 TiB: past this a size is a mistake, and sums could leave the safe integers. */
export const ggufFileBytesMax = 16 * 1024 ** 4;

/** Parts of a split file; the largest published models come in under 200. */
export const ggufPartsMax = 512;

/** One read of a header; few requests over a network, little memory held. */
export const ggufReadBytesFirst = 512 * 1024;
export const ggufReadBytesMax = 4 * 1024 * 1024;

/** How often a read of a remote header is taken up again after a broken connection. */
export const ggufReadRetriesMax = 3;

/** Pages of 1000 files read from a hub's file list. */
export const hubListPagesMax = 10;
/** One page of that list. */
export const hubListBytesMax = 4 * 1024 * 1024;
