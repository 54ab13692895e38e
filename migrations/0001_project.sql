-- Projects (tenants), their API keys and their carrier accounts. Statements do not name the schema;
-- the search path contains it. What each column means stands in sql/comments; the migrations say
-- why the schema is as it is.

create table project (
    id          uuid        not null constraint project_pk primary key,
    name        text        not null constraint project_name_has_1_to_100_characters check (length(name) between 1 and 100),
    webhook_key text        not null constraint webhook_key_belongs_to_one_project unique,
    created_at  timestamptz not null default now(),
    texts_per_contact_per_minute integer not null default 10
        constraint texts_per_contact_per_minute_is_0_to_1000 check (texts_per_contact_per_minute between 0 and 1000),
    repeats_in_five_minutes      integer not null default 5
        constraint repeats_in_five_minutes_is_0_or_3_to_100 check (repeats_in_five_minutes = 0 or repeats_in_five_minutes between 3 and 100),
    texts_per_project_per_minute integer not null default 0
        constraint texts_per_project_per_minute_is_0_to_1000000 check (texts_per_project_per_minute between 0 and 1000000),
    -- Limits on outbound messages; 0 is off, and a conversation with one message a minute and two
    -- answers to each stays within these defaults. The limits of the whole project are off by
    -- default, because with a limit each message of the project locks the same row.
    outbound_per_contact_per_hour   integer not null default 120
        constraint outbound_per_contact_per_hour_is_0_to_100000 check (outbound_per_contact_per_hour between 0 and 100000),
    outbound_per_contact_per_day    integer not null default 500
        constraint outbound_per_contact_per_day_is_0_to_100000 check (outbound_per_contact_per_day between 0 and 100000),
    outbound_per_project_per_minute integer not null default 0
        constraint outbound_per_project_per_minute_is_0_to_10000000 check (outbound_per_project_per_minute between 0 and 10000000),
    outbound_per_project_per_day    integer not null default 0
        constraint outbound_per_project_per_day_is_0_to_1000000000 check (outbound_per_project_per_day between 0 and 1000000000),
    has_outbound_limits             boolean not null generated always as
        (outbound_per_contact_per_hour > 0 or outbound_per_contact_per_day > 0
         or outbound_per_project_per_minute > 0 or outbound_per_project_per_day > 0) stored,
    allowed_countries text[]
        constraint allowed_countries_are_1_to_300 check (cardinality(allowed_countries) between 1 and 300)
        constraint allowed_countries_are_iso_3166 check (array_to_string(allowed_countries, ' ', '?') ~ '^([A-Z]{2}|001)( ([A-Z]{2}|001))*$'),
    help_message   text constraint help_message_fits_a_text check (length(btrim(help_message)) between 1 and 1600 and length(help_message) <= 1600),
    opt_out_message text constraint opt_out_message_fits_a_text check (length(btrim(opt_out_message)) between 1 and 1600 and length(opt_out_message) <= 1600),
    opt_in_message  text constraint opt_in_message_fits_a_text check (length(btrim(opt_in_message)) between 1 and 1600 and length(opt_in_message) <= 1600),
    opt_out_words  text[]  not null default '{}' constraint opt_out_words_are_at_most_20 check (cardinality(opt_out_words) <= 20),
    opt_in_words   text[]  not null default '{}' constraint opt_in_words_are_at_most_20 check (cardinality(opt_in_words) <= 20),
    help_words     text[]  not null default '{}' constraint help_words_are_at_most_20 check (cardinality(help_words) <= 20),
    has_own_words  boolean not null generated always as (opt_out_words <> '{}' or opt_in_words <> '{}' or help_words <> '{}') stored,
    constraint a_keyword_of_a_project_has_one_meaning
        check (not (opt_out_words && opt_in_words or opt_out_words && help_words or opt_in_words && help_words)),
    default_number text,
    quiet_from     time,
    quiet_until    time,
    llm_max_tokens_per_day bigint not null default 0
        constraint llm_max_tokens_per_day_is_0_to_a_trillion check (llm_max_tokens_per_day between 0 and 1000000000000),
    llm_max_cost_per_day   bigint not null default 0
        constraint llm_max_cost_per_day_is_0_to_a_trillion check (llm_max_cost_per_day between 0 and 1000000000000),
    constraint quiet_hours_have_a_begin_and_an_end check ((quiet_from is null) = (quiet_until is null)),
    constraint quiet_hours_are_not_all_day check (quiet_from <> quiet_until)
);

create table api_key (
    id         uuid        not null constraint api_key_pk primary key,
    project_id uuid        not null constraint api_key_belongs_to_a_project references project (id),
    hash       bytea       not null constraint api_key_hash_is_unique unique
                                    constraint api_key_hash_is_sha256 check (octet_length(hash) = 32),
    prefix     text        not null,
    scopes     text[]      not null default '{admin}'
                                    constraint api_key_scopes_are_known check (scopes <@ '{admin,read}' and scopes <> '{}'),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

create table carrier_account (
    project_id      uuid        not null constraint a_project_has_one_carrier_account primary key
                                         constraint carrier_account_belongs_to_a_project references project (id),
    carrier         text        not null,
    account_sid     text        not null constraint account_sid_has_1_to_200_characters check (length(account_sid) between 1 and 200),
    key_id          text        not null,
    auth_token      bytea       not null,
    next_auth_token bytea,
    api_key_sid     text        constraint api_key_sid_has_1_to_200_characters check (length(api_key_sid) between 1 and 200),
    api_key_secret  bytea,
    updated_at      timestamptz not null default now(),
    constraint api_key_sid_and_secret_come_together check ((api_key_sid is null) = (api_key_secret is null))
);
