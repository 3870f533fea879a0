ALTER TABLE `api_keys` ADD `weight` real;--> statement-breakpoint
ALTER TABLE `api_keys` ADD `priority` text;