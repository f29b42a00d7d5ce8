import java.nio.ByteBuffer;
import java.util.Arrays;

/** A card's payments of 30 days as bytes, oldest first, and counts and sums of four windows over them. */
final class CardWindows {
  private static final long HOUR_MS = 3_600_000L;
  private static final long[] WINDOWS_MS = {HOUR_MS, 24 * HOUR_MS, 7 * 24 * HOUR_MS, 30 * 24 * HOUR_MS};
  /** Of a payment: event time in ms since 1970, amount in minor units. */
  private static final int BYTES = 16;

  private CardWindows() {}

  /** Forget what is before the longest window, keep the payment; {@code kept} is null for a new card. */
  static byte[] add(byte[] kept, long at, long amount) {
    byte[] before = kept == null ? new byte[0] : kept;
    ByteBuffer read = ByteBuffer.wrap(before);
    int gone = 0;
    while (gone < before.length && read.getLong(gone) <= at - WINDOWS_MS[3]) {
      gone += BYTES;
    }
    ByteBuffer out = ByteBuffer.allocate(before.length - gone + BYTES);
    return out.put(before, gone, before.length - gone).putLong(at).putLong(amount).array();
  }

  /** Four counts, then four sums (minor units); windows are (t - W, t]. */
  static long[] of(byte[] kept, long at) {
    ByteBuffer read = ByteBuffer.wrap(kept);
    long[] out = new long[8];
    long count = 0;
    long total = 0;
    int window = 0;
    for (int place = kept.length - BYTES; place >= 0; place -= BYTES) {
      while (read.getLong(place) <= at - WINDOWS_MS[window]) {
        out[window] = count;
        out[4 + window++] = total;
      }
      count++;
      total += read.getLong(place + 8);
    }
    Arrays.fill(out, window, 4, count);
    Arrays.fill(out, 4 + window, 8, total);
    return out;
  }
}
