"""A client of librdkafka that writes a history of what it asked for and what came of it.

    client.py send  BOOTSTRAP TOPIC PARTITIONS NAME RATE SIZE IDEMPOTENCE   sends until SIGTERM, then waits for the rest
    client.py watch BOOTSTRAP TOPIC PARTITIONS NAME                         reads from the beginning until SIGTERM
    client.py read  BOOTSTRAP TOPIC PARTITIONS NAME SECONDS                 reads everything there is, once

One event a line, as JSON; e2e/src/faults/history.rs says what each field is. Values are unique: NAME, a dot, a number,
and after a blank what fills the record up to SIZE. The history has the value up to the blank.
"""

import json
import os
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, libversion

# The linker takes Debian's where it does not find the release that the rig has built.
if libversion()[0] != os.environ["LIBRDKAFKA"]:
    sys.exit(f"this is librdkafka {libversion()[0]}, not {os.environ['LIBRDKAFKA']}")

stopping = False


def stop(_signal, _frame):
    global stopping
    stopping = True


def tell(**event):
    event["time_ms"] = int(time.time() * 1000)
    # A whole line in one write: librdkafka writes its own lines to the same file.
    os.write(1, (json.dumps(event) + "\n").encode())


def send(bootstrap, topic, partitions, name, rate, size, idempotence):
    idempotence = idempotence == "true"
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": idempotence,
        # Without idempotence order over a retry is to be had in no other way.
        "max.in.flight.requests.per.connection": 5 if idempotence else 1,
        "linger.ms": 5,
        "message.timeout.ms": 30000,
        "request.timeout.ms": 5000,
        "socket.timeout.ms": 6000,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 5000,
    })

    def told(error, message):
        value = message.value().decode().split(" ")[0]
        event = {"process": name, "operation": "send", "partition": message.partition(), "value": value}
        if error is None:
            tell(kind="ok", offset=message.offset(), **event)
        else:
            # It may be in the log all the same.
            tell(kind="info", error=error.name(), **event)

    count, started = 0, time.monotonic()
    while not stopping:
        due = int((time.monotonic() - started) * float(rate))
        while count < due and not stopping:
            value = "%s.%d" % (name, count)
            partition = count % int(partitions)
            tell(kind="invoke", process=name, operation="send", partition=partition, value=value)
            try:
                producer.produce(topic, (value + " ").ljust(int(size), "x"), partition=partition, on_delivery=told)
            except BufferError:
                tell(kind="fail", process=name, operation="send", partition=partition, value=value, error="queue")
            count += 1
        producer.poll(0.005)
    left = producer.flush(35)
    tell(kind="end", process=name, left=left)


def consumer(bootstrap, topic, partitions, name):
    reader = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": name,
        "enable.auto.commit": False,
        # What is not there any more is noticed by offsets that fall, rather than passed over.
        "auto.offset.reset": "earliest",
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.max.ms": 500,
        "socket.timeout.ms": 6000,
        "topic.metadata.refresh.interval.ms": 5000,
    })
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(int(partitions))])
    return reader


def poll(reader, topic, name, ends):
    """Reads some records, tells of them, and returns the offset behind the last of each partition."""
    records = {}
    for message in reader.consume(1000, 0.2):
        if message.error() is None:
            value = message.value().decode().split(" ")[0]
            records.setdefault(message.partition(), []).append([message.offset(), value])
        else:
            tell(kind="info", process=name, operation="poll", error=message.error().name())
    for partition, read in sorted(records.items()):
        low_high = reader.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        high = low_high[1] if low_high and low_high[1] >= 0 else None
        tell(kind="ok", process=name, operation="poll", partition=partition, records=read, high_watermark=high)
        ends[partition] = read[-1][0] + 1


def watch(bootstrap, topic, partitions, name):
    reader = consumer(bootstrap, topic, partitions, name)
    while not stopping:
        poll(reader, topic, name, {})
    tell(kind="end", process=name)
    os._exit(0)  # Closing would wait for a coordinator of groups.


def read(bootstrap, topic, partitions, name, seconds):
    reader = consumer(bootstrap, topic, partitions, name)
    deadline = time.monotonic() + float(seconds)
    ends, wanted = {}, {}
    while time.monotonic() < deadline:
        poll(reader, topic, name, ends)
        for partition in range(int(partitions)):
            if partition not in wanted:
                try:
                    asked = TopicPartition(topic, partition)
                    wanted[partition] = reader.get_watermark_offsets(asked, timeout=2)[1]
                except KafkaException:
                    continue
                tell(kind="ok", process=name, operation="poll", partition=partition, records=[],
                     high_watermark=wanted[partition])
        if len(wanted) == int(partitions) and all(ends.get(p, 0) >= high for p, high in wanted.items()):
            tell(kind="end", process=name)
            os._exit(0)
    tell(kind="info", process=name, operation="poll", error="read %s of %s in time" % (ends, wanted))
    os._exit(1)


signal.signal(signal.SIGTERM, stop)
{"send": send, "watch": watch, "read": read}[sys.argv[1]](*sys.argv[2:])
