-- Prices by what a call uses, beside the price of each call.

ALTER TABLE app.tool_versions
    ADD COLUMN price_per_kib_micro    bigint NOT NULL DEFAULT 0 CHECK (price_per_kib_micro BETWEEN 0 AND 1000000000000),
    ADD COLUMN price_per_second_micro bigint NOT NULL DEFAULT 0 CHECK (price_per_second_micro BETWEEN 0 AND 1000000000000),
    -- The most that the tool may say a call has cost; 0: what it says is not heard.
    ADD COLUMN price_reported_micro   bigint NOT NULL DEFAULT 0 CHECK (price_reported_micro BETWEEN 0 AND 1000000000000);
