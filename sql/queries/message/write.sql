-- Writes texts as they were decided ($1), each unless a limit refuses it. Returns a row for each, in their order.
select written.session_id, written.refused as "refused: _", written.until_at
  from jsonb_array_elements($1) with ordinality as decided (text, ordinal)
 cross join lateral write_text(decided.text) written
 order by decided.ordinal
