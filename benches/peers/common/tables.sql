-- The tables of all three peers: the shapes of ../../speed/bound.rs (a message, the session of its
-- contact, a reply), with what is needed to answer for real. As there, nothing that a product needs
-- beyond that, and no foreign keys.
create table session (
    id bigint generated always as identity primary key,
    number text not null,
    contact text not null,
    active boolean not null default true,
    last_text_at timestamptz not null default now()) with (fillfactor = 70);
-- One active session of a contact at a number.
create unique index one_active on session (number, contact) where active;

create table message (
    id bigint generated always as identity primary key,
    -- The carrier's id: a webhook that comes again records nothing more.
    provider_id text not null unique,
    session_id bigint not null,
    body text not null,
    created_at timestamptz not null default now());

create table reply (
    id bigint generated always as identity primary key,
    -- One answer a message.
    message_id bigint not null unique,
    body text not null,
    -- What the carrier calls it, as soon as it has taken it.
    provider_id text,
    sent_at timestamptz,
    created_at timestamptz not null default now()) with (fillfactor = 80);
