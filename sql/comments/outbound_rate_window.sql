comment on table outbound_rate_window is 'How many outbound messages were planned in the current windows; it is written only where they are limited.';
comment on column outbound_rate_window.project_id is 'Id of the project.';
comment on column outbound_rate_window.contact is 'Contact that the messages went to; empty for the whole project.';
comment on column outbound_rate_window.short_began is 'Time of the first message of the shorter window: an hour for a contact, a minute for a project.';
comment on column outbound_rate_window.short_sent is 'Count of messages in the shorter window.';
comment on column outbound_rate_window.day_began is 'Time of the first message of the window of 24 hours.';
comment on column outbound_rate_window.day_sent is 'Count of messages in the window of 24 hours.';
