/** Every bound in one place, named noun + unit + qualifier, with its reason. */

/** Chat requests carry text only; 4 MiB is more than a million tokens. Larger bodies are refused unread. */
export const requestBodyBytesMax = 4 * 1024 * 1024;

/** A conversation longer than this does not fit a context anyway; it only costs template time. */
export const messagesPerRequestMax = 2048;

/** OpenAI allows 4; a few more do no harm, hundreds would slow every token. */
export const stopTextsMax = 16;
export const stopTextCharsMax = 256;

/** OpenAI's bounds for other likely tokens: of a chat, and of the older completions. */
export const topLogprobsMax = 20;
export const completionLogprobsMax = 5;

/** Tokens of a completion that does not say how many; OpenAI's. */
export const completionTokensDefault = 16;

/** OpenAI's clients bias a handful of tokens; each one is looked at for every token of the answer. */
export const logitBiasEntriesMax = 1024;

/** Schemas and tools become grammars that llama.cpp walks for every token; these are far beyond any form in use. */
export const schemaNodesMax = 5_000;
export const schemaDepthMax = 64;

/** Length of a text or list that a grammar can count; llama.cpp writes every count out and stops at 2,000. */
export const grammarRepetitionsMax = 1_000;

/** OpenAI's bound. */
export const toolsPerRequestMax = 128;

/** Calls read from one answer of a server elsewhere. */
export const toolCallsPerAnswerMax = 256;

/** Tokens of an answer that repetition penalties look back on; each is handed over for every new token. */
export const penaltyTokensMax = 1024;

/** `user` is an id, not a document. */
export const userIdCharsMax = 256;

/** A model name, an `hf:` reference or a URL. */
export const modelNameCharsMax = 512;

/** Waiting requests on one engine; beyond it a quick refusal is kinder than a long wait. */
export const queueRequestsMax = 64;

/** A question in a chat: some thousand tokens to read, and no book asked for. Such requests go first, within a bound. */
export const shortPromptCharsMax = 4_000;
export const shortAnswerTokensMax = 1_024;

/** A key's share among others. Past the upper bound the ageing that keeps everybody served would outweigh it. */
export const keyWeightMin = 0.1;
export const keyWeightMax = 10;

/** Deadlines a caller may ask for start here: a shorter one than a round trip is a mistake. */
export const deadlineMsMin = 10;

/** Time a request may wait for a slot before it is refused. */
export const queueWaitMsMax = 120_000;

/** Longest silence of a running answer before the llama child is taken for hung and replaced. */
export const tokenSilenceMsMax = 60_000;

/** Loading a large file from a slow disk takes minutes; after this the child is replaced. */
export const modelLoadMsMax = 600_000;

/** Tokens of a prompt evaluated at once where nobody waits for the step to end. */
export const prefillChunkTokens = 256;

/** A step of a prompt should take no longer: running answers stand still for it, and a cancel waits for its end. */
export const prefillStepMsMax = 50;

/** IPC frames gather tokens for at most this long; a person cannot see 8 ms. */
export const tokenFlushMs = 8;

/** Events buffered for a slow reader before its producer is paused. */
export const eventsBufferedMax = 256;

/** A reader that took nothing for this long while its buffer was full has gone; its answer is cut. */
export const readerSilenceMsMax = 60_000;

/** How often the llama child says that it lives. */
export const pulseIntervalMs = 1_000;

/** Silent pulses in a row before the child is taken for hung; loading maps gigabytes and may stall the machine. */
export const pulsesMissedMax = 20;

/** An orderly end of the llama child frees buffers only; past this it is killed. */
export const childStopMsMax = 2_000;

/** A child that lived this long in health starts with a clean record: later crashes are counted from one again. */
export const restartForgivenAfterMs = 60_000;

/** No vocabulary spends under one token on this much text, so text beyond context x this is refused uncounted. */
export const charsPerTokenMax = 64;

/** A driver that does not say what devices there are within this time is taken for absent. */
export const deviceProbeMsMax = 20_000;

/** A server that does not show a model's header within this time is not asked on; nothing is loaded by then. */
export const modelPreviewMsMax = 20_000;

/** What a server said of a model answers the next questions about it for so long. */
export const modelPreviewKeptMs = 60_000;
export const modelPreviewsMax = 32;

/** Warnings of one engine that are passed on; it has one for each model and each GPU. */
export const warningsMax = 50;

/** A minute shows heat and memory moving; a day of minutes is a hundred kilobytes for each GPU. */
export const monitorEveryMs = 60_000;
export const monitorSamplesMax = 1440;

/** A place that is there answers sooner; a check of three must not keep anybody waiting. */
export const reachMsMax = 5_000;

/** What a tool of a driver prints of sixteen cards with all their clocks. */
export const commandOutputBytesMax = 4 * 1024 * 1024;

/** Tokens per sequence when nobody asks for a number: a page or two of conversation on little memory. */
export const contextLengthDefault = 4096;

/** Tokens of a text that becomes a vector, when nobody asks for a number: all of them lie in one batch. */
export const vectorContextLengthDefault = 2048;

/** 2,048 vectors of 4,096 numbers in base64, and some room. */
export const vectorReplyBytesMax = 64 * 1024 * 1024;

/** OpenAI's bound of texts in one request for embeddings, and as many documents to rank as a search brings up. */
export const embeddingInputsMax = 2048;
export const rerankDocumentsMax = 1024;

/** A request tells that its model is being prepared after this long: a sooner failure can still be an HTTP status. */
export const preparationToldAfterMs = 2_000;
/** Between two words about it. */
export const preparationToldEveryMs = 1_000;

/** Restart delays of a crashed child: first, and the most it grows to by doubling. */
export const restartDelayMsFirst = 100;
export const restartDelayMsMax = 30_000;

/** Crashes in a row without a finished answer between them before the engine is called failed. */
export const restartsInARowMax = 5;

/** Crashes of children that never answered before smaller settings are tried; one may be an accident. */
export const restartsBeforeStepMin = 2;

/** An engine that gave up after crashes, with a model that did load once, tries again after this long. */
export const restAfterCrashesMs = 60_000;

/** Kept free on every GPU for the desktop and other programs, on top of the planner's margin. */
export const vramReserveBytesDefault = 500 * 1024 ** 2;

/** Loads remembered with forecast and measurement; a few hundred bytes each. */
export const memoryRecordsMax = 100;

/** Models, settings and depths whose speed is remembered; a kilobyte each. */
export const speedRecordsMax = 200;

/** Answers remembered of each: their median counts, and older ones may be another driver's. */
export const speedSamplesMax = 9;

/** Looking into an engine reads headers and memory; loading a model may mean fetching it first. */
export const operationLookMsMax = 10_000;
export const operationMsMax = 3_600_000;

/** An operator's request names a model and a flag. */
export const adminBodyBytesMax = 16 * 1024;

/** Longest wait for a busy model to become idle before it makes room for another one somebody waits for. */
export const swapWaitMsMax = 30_000;

/** Answers still running when their model must go may end within this time; then they are cut. */
export const swapDrainMsMax = 120_000;

/** A load that failed is not tried again for every request: the next one after this time. */
export const loadFailureRestMs = 30_000;

/** Files and depth looked at below a folder of models; more is no folder of models. */
export const modelFilesMax = 10_000;
export const modelFolderDepthMax = 6;

/** Ollama's manifests are a kilobyte. */
export const ollamaManifestBytesMax = 1024 * 1024;

/** Left free beside a download, so that the database and the system keep breathing. */
export const diskReserveBytes = 256 * 1024 ** 2;

/** Connections in a row that brought nothing before a download is given up, and the first wait between two of them. */
export const downloadRetriesMax = 4;
export const downloadRetryMsFirst = 500;

/** A download that brings nothing for this long has a dead connection. */
export const downloadSilenceMsMax = 60_000;

/** Connections that outlast their answers get this long at shutdown: the last bytes are on their way. */
export const closeMsMax = 1000;

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

/**
 * A comment this often keeps proxies from closing a silent stream; most give up after 60 s, some after 30. It is also
 * how a Worker learns of a client that closed a silent stream: workerd notices an ordinary close when it writes.
 */
export const keepAliveMs = 5_000;

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

/** Between two notes in the ledger of what an answer under way has produced: so much of it a dying process takes along. */
export const usageNoteMs = 2_000;

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

/** Requests for one remote header; a sound server needs about five. */
export const ggufRequestsMax = 200;

/** Pages of 1000 files read from a hub's file list. */
export const hubListPagesMax = 10;
/** One page of that list. */
export const hubListBytesMax = 4 * 1024 * 1024;

/** Messages one answer may take in a chat; a longer one goes into a file that is easier to read and to keep. */
export const replyMessagesMax = 3;

/** Characters of a question; Discord's longest text option. */
export const questionCharsMax = 6000;

/** Characters of a channel's persona: it is paid for with every question. */
export const personaCharsMax = 2000;

/** Reasoning shown behind a spoiler; more is cut, the answer needs the room. */
export const reasoningCharsMax = 600;

/** Characters of a question repeated above its answer. */
export const quotedQuestionCharsMax = 180;

/** Messages read back for a conversation; contexts of small machines hold fewer. */
export const historyMessagesMax = 50;

/** Replies followed upwards, one request each. */
export const replyChainMax = 20;

/** Text files taken into a question, and the bytes of each. */
export const questionFilesMax = 4;
export const questionFileBytesMax = 256 * 1024;

/** Answers kept in memory for Regenerate, reply chains and feedback. */
export const answersRememberedMax = 1000;

/** Events remembered to drop repeats; a resumed connection repeats seconds, not hours. */
export const eventsRememberedMax = 5000;

/** An answer moves to another place this long before its reply token ends: time for one slow write. */
export const replyMoveMsBefore = 60_000;

/** An answer that is there sooner needs no placeholder; a person does not miss one for this long. */
export const placeholderDelayMs = 600;

/** Waits after a failed write: first, and the most it grows to by doubling. */
export const writeRetryMsFirst = 1_000;
export const writeRetryMsMax = 30_000;

/** Failed writes in a row before an answer is given up. */
export const writeTriesMax = 6;

/** Share of the context kept free for the answer when history is gathered, and the most that is kept, tokens. */
export const answerContextShare = 0.35;
export const answerTokensReservedMax = 2048;

/** The list of models changes by hand; autocompletion asks for it with every key. */
export const modelListAgeMsMax = 10_000;

/** Rows of a usage answer that does not say how many. */
export const usageRowsDefault = 50;

/** Prepared statements kept by the ledger; it has about a dozen. */
export const preparedStatementsMax = 100;

/** Shortest admin key an administrator may choose. */
export const apiKeyCharsMin = 16;

/** Chance in a key we make. */
export const apiKeyBytes = 32;

/** A fit request describes a model and a machine; the longest model configurations are some tens of KiB. */
export const fitBodyBytesMax = 256 * 1024;

/** No answer takes this long: an open row of this age was left by a process that died. */
export const interruptedAfterMs = 24 * 3_600_000;

/** For reading a model's header from the hub; it is a few megabytes. */
export const hubHeaderMsMax = 20_000;

/** A key's name is a label. */
export const keyNameCharsMax = 100;

/** Models a key may be held to. */
export const keyModelsMax = 100;

/** Keys that may be listed; more would need paging. */
export const keysMax = 10_000;

/** Wrong keys from one address before it has to wait, and how many a minute give back. */
export const keyGuessesMax = 20;
export const keyGuessesPerMinute = 10;

/** Keyless fit questions from one address at once, and how many a minute give back. */
export const fitQuestionsMax = 60;
export const fitQuestionsPerMinute = 60;

/** Addresses remembered for the two bounds above; the longest unseen is forgotten first. */
export const addressesRememberedMax = 10_000;

/** Key and end user pairs whose quotas are held in memory; the ledger brings the others back. */
export const quotaScopesMax = 10_000;

/** Past minutes looked at for tokens used beyond the quota; an answer over it is paid off by then. */
export const quotaMinutesCarried = 60;

/** Retry advice for a request over the bound of concurrent ones; answers take seconds. */
export const concurrencyRetryMs = 1_000;

/** Longer waits than this are no retries: the client is told not to. */
export const retryWaitMsMax = 60_000;

/** Engines behind one API. */
export const enginesMax = 64;

/** Age of an engine's state at which it is asked again, in the background. */
export const engineStateMsMax = 2_000;

/** Age of the list of registered engines at which it is read again; another isolate may have changed it. */
export const engineListMsMax = 30_000;

/** Failures in a row that take an engine out, for how long at first, and the most that grows to by doubling. */
export const engineFailuresMax = 3;
export const engineRestMsFirst = 5_000;
export const engineRestMsMax = 60_000;

/** Engines tried for one request before its error is passed on. */
export const engineTriesMax = 3;

/** Length of an answer for estimating waits while none was seen, milliseconds. */
export const answerMsAssumed = 10_000;
/** The same in tokens, for engines that tell how fast they are. */
export const answerTokensAssumed = 250;

/** Models one alias may stand for. */
export const aliasTargetsMax = 10;

/** Longest answer looked for when tokens are counted by the time their answer ended. */
export const answerMsMax = 3_600_000;

/** Threads of a platform without history whose messages are kept in memory; the longest silent is forgotten first. */
export const threadsRememberedMax = 500;

/** Claimed events are kept this long: Slack repeats within minutes, and threads are followed for days. */
export const claimsKeptMs = 30 * 86_400_000;

/** One signed request of a chat platform; messages and forms are a few kilobytes. */
export const signedBodyBytesMax = 1024 * 1024;

/** Age of a signed request at which it is refused, and how far ahead its clock may be. */
export const signedTimestampMsMax = 300_000;

/** What stands behind an answer's buttons is kept this long where the program sleeps between requests. */
export const keptMsMax = 24 * 3_600_000;

/** Age of a person's name, language and rights at which they are asked for again. */
export const personAgeMsMax = 3_600_000;

/** People remembered with name, language and rights. */
export const peopleRememberedMax = 5_000;

/** Users of one channel whose forgetting is looked up with a question; older marks are beyond any history read back. */
export const forgottenMarksMax = 1000;

/** Groups of a usage report: the busiest users, not all of them. */
export const usageGroupsDefault = 50;
export const usageGroupsMax = 1000;

/** Between two looks whether an hour or a day of the ledger has ended. */
export const ledgerTidyMs = 300_000;

/** What answers cut at shutdown get to say so in the chat. */
export const interruptedNoteMsMax = 5_000;

/** One message of an engine's link in either direction; requests are as large as bodies may be, and JSON escapes. */
export const linkMessageBytesMax = 8 * 1024 * 1024;

/** One message from an engine: a few tokens, a model list, a state. */
export const linkEngineMessageCharsMax = 1024 * 1024;

/** A running answer's tokens are gathered for at most this long, or until there are so many; the first goes at once. */
export const linkFlushMs = 50;
export const linkFlushTokens = 16;

/** Messages of one answer an engine may be ahead of its reader. */
export const linkWindowMessages = 64;

/** Messages of one answer kept while an earlier one is missing. */
export const linkHeldMessagesMax = 16;

/** Requests on one link at once: what engines queue, and room to refuse the rest by their own words. */
export const linkRequestsMax = 256;

/** An idle link is tried this often; routers at home and Cloudflare forget silent connections after 60 to 100 s. */
export const linkPingMs = 20_000;

/** A try that is not answered in this time means that the connection is dead. */
export const linkPongMsMax = 10_000;

/** An engine that was not heard of for this long is gone, though its connection never closed. */
export const linkSilenceMsMax = 60_000;

/** Connecting, and saying hello, take less. */
export const linkHelloMsMax = 10_000;

/** Waits before connecting again: first, and the most it grows to by doubling; each is spread by chance. */
export const linkRetryMsFirst = 200;
export const linkRetryMsMax = 30_000;

/** A refusal that only a person can lift is tried again this seldom. */
export const linkRefusedRetryMs = 60_000;

/** Between two looks whether the engine's state has changed and must be told. */
export const linkStateLookMs = 1_000;

/** Answers given elsewhere that wait to be counted: one isolate's in the time between two looks at its counters. */
export const handedOverMax = 2000;

/** Between two looks whether the keys of connected engines are still good. */
export const linkKeyLookMs = 30_000;

/** What an engine tells of its machine and plans, as JSON. */
export const linkFactsCharsMax = 16 * 1024;

/** A day's work at the admin page; then one signs in again. */
export const adminSessionMs = 12 * 3_600_000;

/** One form of the admin page; a key held to a hundred models is the largest. */
export const adminFormBytesMax = 64 * 1024;

/** Lines of a chart; the rest is drawn as one. */
export const chartGroupsMax = 7;

/** Groups that the admin page lists, and failed requests. */
export const adminRowsMax = 20;
export const adminFailuresMax = 8;

/** One vote on an answer, and the name of the answer in it. */
export const feedbackBodyBytesMax = 8 * 1024;
export const feedbackIdCharsMax = 200;

/** Age of the GPUs' free memory at which it is read again for those who look; a driver takes some ten milliseconds. */
export const memoryViewMsMax = 10_000;

/** Precisions side by side: more columns than anybody reads, and hours of work. */
export const compareQuantizationsMax = 8;

/** Prompts of one comparison; each is answered by every precision. */
export const comparePromptsMax = 4;
export const comparePromptCharsMax = 4000;

/** A comparison asked for over the network. */
export const compareBodyBytesMax = 64 * 1024;

/** Between two looks at how a comparison is getting on. */
export const compareLookMs = 1000;

/** Beginning a comparison looks at files, ending one waits for a process to end. */
export const compareReplyMsMax = 30_000;

/** Between two edits of a comparison's message in a chat. */
export const compareEditMs = 3000;

/** Depths at which speed is measured. */
export const compareContextsMax = 4;

/** Tokens of one compared answer; longer ones differ by chance. */
export const compareTokensMax = 1024;

/** Deepest cache that is filled for a measurement. */
export const contextTokensMeasuredMax = 1_048_576;

/** Comparisons and their reports kept in memory. */
export const compareJobsKept = 8;

/** Log-probabilities of a reference kept on disk while a comparison runs. */
export const referenceBytesMax = 1024 * 1024 * 1024;

/** Age of a key at which it is looked up again: how long one that another process revoked may still be used. */
export const keyAgeMsMax = 1_000;

/** Keys remembered for that long. */
export const recentKeysMax = 1_000;

/** A whole request, head and body, must have arrived within this time: 4 MiB on a slow line, but no drip of bytes. */
export const requestMsMax = 60_000;

/** Of that, its head. */
export const requestHeadMsMax = 20_000;
