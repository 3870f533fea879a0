import { MemoryBotState } from "../support/memory-bot-state.ts";
import { describeBotState } from "./bot-state.ts";

describeBotState("The memory", async () => new MemoryBotState());
