package consumer

import "github.com/IBM/sarama"

// translate turns an answer that sarama has decoded into one of ours: that of a
// broker below 0.11, or one with message sets in it.
func translate(r *sarama.FetchResponse) *answer {
	a := &answer{err: sarama.KError(r.ErrorCode)}
	for topic, partitions := range r.Blocks {
		for id, from := range partitions {
			b := block{
				topic:         topic,
				partition:     id,
				err:           from.Err,
				highWatermark: from.HighWaterMarkOffset,
				stable:        from.LastStableOffset,
				replica:       from.PreferredReadReplica,
				leader:        -1,
				leaderEpoch:   -1,
				sets:          from.RecordsSet,
				partial:       from.Partial,
			}
			if h := from.CurrentLeader; h != nil {
				b.leader, b.leaderEpoch = h.LeaderID, h.LeaderEpoch
			}
			for _, t := range from.AbortedTransactions {
				b.aborted = append(b.aborted, abortedTransaction{t.ProducerID, t.FirstOffset})
			}
			if len(from.RecordsSet) == 1 {
				set := from.RecordsSet[0]
				b.partial = b.partial || set.MsgSet != nil && set.MsgSet.PartialTrailingMessage && len(set.MsgSet.Messages) == 0 ||
					set.RecordBatch != nil && set.RecordBatch.PartialTrailingRecord
			}
			a.blocks = append(a.blocks, b)
		}
	}
	return a
}

// after returns the offset after everything that is complete in sets, or from
// where nothing is, and the number of records.
func after(sets []*sarama.Records, from int64) (next, count int64) {
	next = from
	some := false
	for _, set := range sets {
		if b := set.RecordBatch; b != nil && !b.PartialTrailingRecord {
			next, some = max(next, b.LastOffset()+1), true
			count += int64(len(b.Records))
		}
		if set.MsgSet == nil {
			continue
		}
		for _, m := range set.MsgSet.Messages {
			eachMessage(m, func(offset int64, _ *sarama.Message, _ *sarama.MessageBlock) {
				next, some = max(next, offset+1), true
				count++
			})
		}
	}
	if some && next == from {
		next++
	}
	return next, count
}

// eachMessage calls visit with the messages of a block, which is one, or several
// that were compressed together. Those have offsets relative to their first one
// from message format 1 on.
func eachMessage(m *sarama.MessageBlock, visit func(offset int64, msg *sarama.Message, outer *sarama.MessageBlock)) {
	inner := m.Messages()
	if len(inner) == 0 {
		return
	}
	for _, x := range inner {
		offset := x.Offset
		if x.Msg.Version >= 1 {
			offset += m.Offset - inner[len(inner)-1].Offset
		}
		visit(offset, x.Msg, m)
	}
}

// legacyMessages returns the messages of sets from an offset on, as sarama's
// Consumer makes them.
func (p *partition) legacyMessages(sets []*sarama.Records, from int64, aborted []abortedTransaction) []sarama.ConsumerMessage {
	var all []sarama.ConsumerMessage
	t := newTransactions(aborted)
	for _, set := range sets {
		if b := set.RecordBatch; b != nil && !b.PartialTrailingRecord {
			all = p.decodedBatch(all, b, from, &t)
		}
		if set.MsgSet == nil {
			continue
		}
		for _, m := range set.MsgSet.Messages {
			eachMessage(m, func(offset int64, msg *sarama.Message, outer *sarama.MessageBlock) {
				if offset < from {
					return
				}
				at := msg.Timestamp
				if msg.Version >= 1 && msg.LogAppendTime {
					at = outer.Msg.Timestamp
				}
				all = append(all, sarama.ConsumerMessage{
					Topic: p.topic, Partition: p.id, Offset: offset,
					Key: msg.Key, Value: msg.Value,
					Timestamp: at, BlockTimestamp: outer.Msg.Timestamp,
				})
			})
		}
	}
	return all
}

func (p *partition) decodedBatch(all []sarama.ConsumerMessage, b *sarama.RecordBatch, from int64, t *transactions) []sarama.ConsumerMessage {
	like := recordBatch{base: b.FirstOffset, lastDelta: b.LastOffsetDelta, producer: b.ProducerID}
	if b.IsTransactional {
		like.attributes |= attributeTransactional
	}
	out := t.enter(&like) && p.core.conf.Consumer.IsolationLevel == sarama.ReadCommitted
	if b.Control {
		if len(b.Records) > 0 && len(b.Records[0].Key) >= 4 && b.Records[0].Key[2] == 0 && b.Records[0].Key[3] == 0 {
			delete(t.open, b.ProducerID)
		}
		return all
	}
	if out {
		return all
	}
	for _, r := range b.Records {
		offset := b.FirstOffset + r.OffsetDelta
		if offset < from {
			continue
		}
		at := b.FirstTimestamp.Add(r.TimestampDelta)
		if b.LogAppendTime {
			at = b.MaxTimestamp
		}
		all = append(all, sarama.ConsumerMessage{
			Topic: p.topic, Partition: p.id, Offset: offset,
			Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: at,
		})
	}
	return all
}
