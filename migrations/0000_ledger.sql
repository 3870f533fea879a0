CREATE TABLE `api_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`fingerprint` text NOT NULL,
	`scopes` text NOT NULL,
	`created_at` integer NOT NULL,
	`revoked_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `api_keys_hash_unique` ON `api_keys` (`hash`);--> statement-breakpoint
CREATE TABLE `usage` (
	`id` text PRIMARY KEY NOT NULL,
	`at` integer NOT NULL,
	`status` text NOT NULL,
	`key_id` text NOT NULL,
	`source` text NOT NULL,
	`user_id` text,
	`model` text NOT NULL,
	`quantization` text,
	`engine_id` text,
	`stream` integer NOT NULL,
	`prompt_tokens` integer,
	`completion_tokens` integer,
	`cached_prompt_tokens` integer,
	`estimated` integer DEFAULT false NOT NULL,
	`queue_ms` real,
	`time_to_first_token_ms` real,
	`total_ms` real,
	`prefill_tokens_per_second` real,
	`completion_tokens_per_second` real,
	`finish_reason` text,
	`error_code` text,
	`aborted` integer DEFAULT false NOT NULL
);
--> statement-breakpoint
CREATE INDEX `usage_at` ON `usage` (`at`);--> statement-breakpoint
CREATE INDEX `usage_key_at` ON `usage` (`key_id`,`at`);