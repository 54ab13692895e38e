comment on table inbound_rate_window is 'How many inbound messages a project has had in the current minute; it is written only where that is limited.';
comment on column inbound_rate_window.project_id is 'Id of the project.';
comment on column inbound_rate_window.minute is 'Time at which the minute of the clock began.';
comment on column inbound_rate_window.texts is 'Count of inbound messages in this minute.';
