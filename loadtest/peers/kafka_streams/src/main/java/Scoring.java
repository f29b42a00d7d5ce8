import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * What a JVM team would build: a transaction in (JSON), its card's windows from RocksDB, a vector of features, the model
 * through ONNX Runtime, a decision out (JSON).
 *
 * <p>One entity only; no reasons, archive, labels or drift; a transaction that comes twice is counted and decided twice.
 *
 * <p>Arguments: bootstrap, topic, out, folder, the model's file, the width of its vectors, the nine places that are filled in
 * them (amount, four counts, four sums; the others stay unknown), and the processing guarantee (at_least_once or
 * exactly_once_v2). Prints "ready" once it has its partitions.
 */
public final class Scoring {
  private static final double REVIEW_FROM = 0.5;
  /** One for each partition of the stack's default. */
  private static final int THREADS = 2;

  public static void main(String[] args) throws OrtException {
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    OrtSession.SessionOptions options = new OrtSession.SessionOptions();
    // a stream thread scores its own row: more threads would only wait for each other
    options.setIntraOpNumThreads(1);
    OrtSession session = environment.createSession(args[4], options);
    int width = Integer.parseInt(args[5]);
    int[] places = Arrays.stream(args[6].split(",")).mapToInt(Integer::parseInt).toArray();
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("kept"), Serdes.String(), Serdes.ByteArray()));
    builder
        .<String, byte[]>stream(args[1])
        .process(() -> new Step(new Model(environment, session, width), places), "kept")
        .to(args[2]);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings(args));
    streams.setStateListener(
        (now, before) -> {
          if (now == KafkaStreams.State.RUNNING) {
            System.out.println("ready");
            System.out.flush();
          }
        });
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  private static Properties settings(String[] args) {
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-scoring");
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[3]);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, THREADS);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[7]);
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    // Kafka Streams waits 100 ms for a full batch by default, which would be all of the deadline: a producer's own default
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    return settings;
  }

  /** The model on one row at a time, as records come; one of its own for each stream thread. */
  private static final class Model {
    private final OrtEnvironment environment;
    private final OrtSession session;
    private final long[] shape;
    private final FloatBuffer row;

    Model(OrtEnvironment environment, OrtSession session, int width) {
      this.environment = environment;
      this.session = session;
      this.shape = new long[] {1, width};
      // off the heap, so that ONNX Runtime reads it where it is
      this.row = ByteBuffer.allocateDirect(4 * width).order(ByteOrder.nativeOrder()).asFloatBuffer();
      for (int place = 0; place < width; place++) {
        row.put(place, Float.NaN);
      }
    }

    void set(int place, float value) {
      row.put(place, value);
    }

    /** Probability of fraud, without calibration. */
    double score() throws OrtException {
      row.rewind();
      try (OnnxTensor features = OnnxTensor.createTensor(environment, row, shape);
          OrtSession.Result result = session.run(Map.of("features", features))) {
        float margin = ((float[][]) result.get(0).getValue())[0][0];
        return 1 / (1 + Math.exp(-margin));
      }
    }
  }

  private static final class Step implements Processor<String, byte[], String, byte[]> {
    private final ObjectMapper json = new ObjectMapper();
    private final Model model;
    private final int[] places;
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, byte[]> store;

    Step(Model model, int[] places) {
      this.model = model;
      this.places = places;
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
      this.context = context;
      this.store = context.getStateStore("kept");
    }

    @Override
    public void process(Record<String, byte[]> record) {
      try {
        JsonNode payment = json.readTree(record.value());
        String card = payment.get("card_id").asText();
        long at = OffsetDateTime.parse(payment.get("event_time").asText()).toInstant().toEpochMilli();
        long amount = payment.get("amount_minor").asLong();
        byte[] kept = CardWindows.add(store.get(card), at, amount);
        store.put(card, kept);
        long[] windows = CardWindows.of(kept, at);
        model.set(places[0], amount);
        for (int k = 0; k < windows.length; k++) {
          model.set(places[1 + k], windows[k]);
        }
        byte[] decision = decision(payment, card, model.score(), record.timestamp());
        context.forward(record.withKey(card).withValue(decision));
      } catch (java.io.IOException | OrtException error) {
        throw new IllegalStateException("this transaction cannot be decided: " + new String(record.value()), error);
      }
    }

    private byte[] decision(JsonNode payment, String card, double score, long receivedMs)
        throws com.fasterxml.jackson.core.JsonProcessingException {
      long nowMs = System.currentTimeMillis();
      ObjectNode out = json.createObjectNode();
      out.put("transaction_id", payment.get("transaction_id").asText());
      out.put("decision", score >= REVIEW_FROM ? "review" : "approve");
      out.put("status", "scored");
      out.put("score", score);
      out.put("model", "fraud");
      out.put("model_version", "1.0.0");
      out.put("event_time", payment.get("event_time").asText());
      out.put("received_at", Instant.ofEpochMilli(receivedMs).toString());
      out.put("decided_at", Instant.ofEpochMilli(nowMs).toString());
      out.put("latency_ms", nowMs - receivedMs);
      out.put("card_id", card);
      return json.writeValueAsBytes(out);
    }
  }
}
