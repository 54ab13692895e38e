-- Deliveries of outbound messages.

create domain delivery_status as text constraint delivery_status_is_known
    check (value in ('planned', 'sending', 'accepted', 'sent', 'delivered', 'failed', 'unknown', 'suppressed'));
create domain delivery_history as jsonb constraint delivery_history_is_a_list check (jsonb_typeof(value) = 'array');

-- The sending of one outbound message. A delivery has the id of its message, so a message has one
-- delivery. The trigger delivery_belongs_to_a_message checks that the message exists.
create table delivery (
    id           uuid             not null constraint a_message_has_one_delivery primary key,
    project_id   uuid             not null,
    session_id   uuid             not null,
    number_id    uuid             not null,
    contact      text             not null,
    seq          bigint           not null,
    status       delivery_status  not null default 'planned',
    -- Null when there is nothing to do. The indexes below contain only rows with a due_at, so a
    -- status callback changes no index (HOT).
    due_at       timestamptz,
    attempts     integer          not null default 0,
    lease_token  uuid,
    leased_until timestamptz,
    attempted_at timestamptz,
    carrier_id  text,
    despite_opt_out boolean       not null default false,
    error_code   integer,
    error_class  text,
    error_detail text,
    -- The steps, the oldest first:
    -- [{"at", "status", "attempt"?, "code"?, "class"?, "detail"?, "by"?}]. They are in this row
    -- because every step writes it anyway, and a table of steps would cost a second write.
    history      delivery_history not null default '[]',
    created_at   timestamptz      not null default now(),
    accepted_at  timestamptz,
    updated_at   timestamptz      not null default now(),
    constraint delivery_lease_has_token_and_end check ((lease_token is null) = (leased_until is null)),
    constraint sending_delivery_is_leased check (status <> 'sending' or lease_token is not null),
    constraint only_a_sending_or_unknown_delivery_is_leased check (lease_token is null or status in ('sending', 'unknown')),
    constraint planned_sending_and_unknown_deliveries_are_due
        check (status not in ('planned', 'sending', 'unknown') or due_at is not null),
    constraint accepted_delivery_has_the_carriers_id check (status not in ('accepted', 'sent', 'delivered') or carrier_id is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create index delivery_that_is_due on delivery (due_at) where due_at is not null;

-- The messages to a contact are sent in order. A claim looks for an earlier one in this index.
create index delivery_in_order_of_a_contact on delivery (number_id, contact, seq) where due_at is not null;
-- Whether a contact was called a landline. It has no column that a status callback of another kind
-- changes.
create index delivery_to_a_landline on delivery (project_id, contact) where error_class = 'landline';
create unique index delivery_has_one_carrier_message on delivery (project_id, carrier_id) where carrier_id is not null;
