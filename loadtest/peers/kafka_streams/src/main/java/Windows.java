import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.time.OffsetDateTime;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams with a store of its own: each card's payments of 30 days in RocksDB, with its changelog. Prints what
 * loadtest/peers/meter.py prints.
 *
 * <p>Arguments: bootstrap, topic, out, events, folder, and "plain" (a store's default: RocksDB and changelog get every
 * change) or "cached" (both get what is left at a commit, each 30 s, or when 10 MB are full).
 */
public final class Windows {
  public static void main(String[] args) {
    StreamsBuilder builder = new StreamsBuilder();
    StoreBuilder<KeyValueStore<String, byte[]>> store =
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("kept"), Serdes.String(), Serdes.ByteArray());
    builder.addStateStore(args[5].equals("cached") ? store.withCachingEnabled() : store);
    Meter meter = new Meter(Integer.parseInt(args[3]));
    builder.<String, String>stream(args[1]).process(() -> new Step(meter), "kept").to(args[2]);
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-kafka-streams-" + args[5]);
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  private static final class Step implements Processor<String, String, String, String> {
    private final ObjectMapper json = new ObjectMapper();
    private final Meter meter;
    private ProcessorContext<String, String> context;
    private KeyValueStore<String, byte[]> store;

    Step(Meter meter) {
      this.meter = meter;
    }

    @Override
    public void init(ProcessorContext<String, String> context) {
      this.context = context;
      this.store = context.getStateStore("kept");
    }

    @Override
    public void process(Record<String, String> record) {
      try {
        JsonNode payment = json.readTree(record.value());
        String card = payment.get("card_id").asText();
        long at = OffsetDateTime.parse(payment.get("event_time").asText()).toInstant().toEpochMilli();
        byte[] kept = CardWindows.add(store.get(card), at, payment.get("amount_minor").asLong());
        store.put(card, kept);
        long[] windows = CardWindows.of(kept, at);
        context.forward(record.withKey(card).withValue(json.writeValueAsString(windows)));
        meter.saw(windows);
      } catch (com.fasterxml.jackson.core.JsonProcessingException error) {
        throw new IllegalArgumentException("not a transaction: " + record.value(), error);
      }
    }
  }

  /** As loadtest/peers/meter.py; memory is the process' own, which a JVM takes ahead of need. */
  private static final class Meter {
    private static final int SHARES = 6;
    private final OperatingSystemMXBean system =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private final int each;
    private final long[] cpuNs = new long[SHARES];
    private int done;
    private long counts;
    private long sums;

    Meter(int events) {
      each = events / SHARES;
    }

    /** One thread only: num.stream.threads is 1. */
    void saw(long[] windows) {
      done++;
      if (done > each * SHARES) {
        return;
      }
      for (int k = 0; k < 4; k++) {
        counts += windows[k];
        sums += windows[4 + k];
      }
      if (done % each == 0) {
        cpuNs[done / each - 1] = system.getProcessCpuTime();
      }
      if (done == each * SHARES) {
        StringBuilder us = new StringBuilder();
        for (int k = 1; k < SHARES; k++) {
          us.append(k > 1 ? ", " : "").append((cpuNs[k] - cpuNs[k - 1]) / 1e3 / each);
        }
        System.out.printf(
            "{\"us\": [%s], \"rss_mb\": null, \"counts\": %d, \"sums\": %d}%n", us, counts, sums % (1L << 53));
        System.out.flush();
      }
    }
  }
}
