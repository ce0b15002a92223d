-- Predicates of conditions over an item `i`: what `domain/conditions.py` asks. What stands in braces are parameters.

-- status_is: the item has one of these statuses.
i.status = any({allowed}::text[])

-- unlocked: the item stands in no locked project.
not exists (select from project_item x join project p on p.id = x.project_id where x.item_id = i.id and p.locked)

-- in_project: the item stands in one of these projects.
exists (select from project_item x join project p on p.id = x.project_id where x.item_id = i.id and p.name = any({names}::text[]))

-- name_begins: the item's name is like this.
i.name like {pattern}::text

-- has_files: the item has so many files at least.
(select count(*) from (select from item_file f where f.item_id = i.id limit {least}::bigint) few) >= {least}::bigint

-- has: there is something else than null at this path.
coalesce(jsonb_typeof(i.metadata #> {path}::text[]), 'null') <> 'null'

-- one_of: what is at this path is one of these values.
i.metadata #> {path}::text[] = any({values}::text[]::jsonb[])

-- at_least: what is at this path is a number, or a text, and not below this one.
case when jsonb_typeof(i.metadata #> {path}::text[]) = jsonb_typeof({value}::text::jsonb)
     then case jsonb_typeof({value}::text::jsonb)
          when 'number' then (i.metadata #> {path}::text[])::numeric >= ({value}::text::jsonb)::numeric
          else (i.metadata #>> {path}::text[]) collate "C" >= ({value}::text::jsonb #>> '{{}}') collate "C" end end

-- at_most: what is at this path is a number, or a text, and not above this one.
case when jsonb_typeof(i.metadata #> {path}::text[]) = jsonb_typeof({value}::text::jsonb)
     then case jsonb_typeof({value}::text::jsonb)
          when 'number' then (i.metadata #> {path}::text[])::numeric <= ({value}::text::jsonb)::numeric
          else (i.metadata #>> {path}::text[]) collate "C" <= ({value}::text::jsonb #>> '{{}}') collate "C" end end

-- is_like: what is at this path is a text like this.
case when jsonb_typeof(i.metadata #> {path}::text[]) = 'string' then (i.metadata #>> {path}::text[]) like {pattern}::text end
