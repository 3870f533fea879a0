CREATE TABLE `bot_channels` (
	`source` text NOT NULL,
	`channel_id` text NOT NULL,
	`model` text,
	`persona` text,
	PRIMARY KEY(`source`, `channel_id`)
);
--> statement-breakpoint
CREATE TABLE `bot_feedback` (
	`answer_id` text NOT NULL,
	`source` text NOT NULL,
	`user_id` text NOT NULL,
	`vote` text NOT NULL,
	`at` integer NOT NULL,
	`model` text,
	`quantization` text,
	`time_to_first_token_ms` real,
	`completion_tokens_per_second` real,
	PRIMARY KEY(`answer_id`, `source`, `user_id`)
);
--> statement-breakpoint
CREATE INDEX `bot_feedback_at` ON `bot_feedback` (`at`);--> statement-breakpoint
CREATE TABLE `bot_forgotten` (
	`source` text NOT NULL,
	`channel_id` text NOT NULL,
	`user_id` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`source`, `channel_id`, `user_id`)
);
