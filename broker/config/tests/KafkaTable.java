// Writes kafka-4.3.1.tsv, the configuration keys of Apache Kafka as its own code defines them. Run with the jars of
// org.apache.kafka:kafka_2.13:4.3.1 and what it depends on:
//
//     java -cp 'libs/*' KafkaTable.java > kafka-4.3.1.tsv
import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.storage.internals.log.LogConfig;

public class KafkaTable {
    public static void main(String[] arguments) {
        System.out.println("# resource\tkey\ttype\tdefault\tupdate mode");
        print("topic", LogConfig.configDefCopy());
        print("broker", AbstractKafkaConfig.CONFIG_DEF);
    }

    static void print(String resource, ConfigDef keys) {
        var modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        for (var key : new TreeMap<>(keys.configKeys()).values()) {
            if (key.internalConfig) continue;
            var value = key.defaultValue == ConfigDef.NO_DEFAULT_VALUE ? "<required>"
                : key.defaultValue == null ? "<null>" : ConfigDef.convertToString(key.defaultValue, key.type);
            var mode = resource.equals("topic") ? "" : modes.getOrDefault(key.name, "read-only");
            System.out.println(String.join("\t", resource, key.name, key.type.name().toLowerCase(), value, mode));
        }
    }
}
