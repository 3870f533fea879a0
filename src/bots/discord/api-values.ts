/** Numbers and paths of Discord's API version 10, for code that runs where its library does not. */

export const messageFlags = { suppressEmbeds: 1 << 2, ephemeral: 1 << 6 } as const;

export const interactionTypes = { ping: 1, command: 2, component: 3, autocomplete: 4, modalSubmit: 5 } as const;

export const responseTypes = {
  pong: 1,
  message: 4,
  deferredMessage: 5,
  deferredUpdate: 6,
  update: 7,
  autocomplete: 8,
  modal: 9,
} as const;

export const componentTypes = { actionRow: 1, button: 2, textInput: 4, label: 18 } as const;
export const buttonStyles = { secondary: 2, danger: 4 } as const;
export const textInputParagraph = 2;
export const commandTypes = { chatInput: 1, message: 3 } as const;
export const messageTypes = { default: 0, reply: 19 } as const;

/** Announcement, public and private threads. */
export const threadTypes: readonly number[] = [10, 11, 12];
/** Direct and group conversations. */
export const directTypes: readonly number[] = [1, 3];

export const permissions = { administrator: 1n << 3n, manageChannels: 1n << 4n } as const;

export const paths = {
  webhook: (applicationId: string, token: string) => `/webhooks/${applicationId}/${token}` as const,
  webhookMessage: (applicationId: string, token: string, messageId: string) =>
    `/webhooks/${applicationId}/${token}/messages/${messageId}` as const,
  channelMessages: (channelId: string) => `/channels/${channelId}/messages` as const,
  channelMessage: (channelId: string, messageId: string) => `/channels/${channelId}/messages/${messageId}` as const,
  channelTyping: (channelId: string) => `/channels/${channelId}/typing` as const,
  userChannels: "/users/@me/channels",
} as const;
