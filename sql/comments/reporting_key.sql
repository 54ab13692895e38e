comment on table reporting_key is 'The key of the hashes (HMAC-SHA256) that stand for contacts in the views, combined with its two pads; the role of the views can''t read it.';
comment on column reporting_key.is_the_key is 'Always true, so that the table has one row.';
comment on column reporting_key.inner_pad is 'Key combined with the pad of the inner hash, 64 bytes.';
comment on column reporting_key.outer_pad is 'Key combined with the pad of the outer hash, 64 bytes.';
