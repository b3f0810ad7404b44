// Decodes every golden message with the SBE reference implementation, driven by the XML alone.
//
// Called by the contract test as: java -cp sbe-all.jar Decode.java SCHEMA.xml messages.hex
// Parses with warnings taken for errors, then prints a line for each field of each sample: the
// sample, the field, and its value (a number, the name of a code, the names of a set, bytes in hex;
// "none" for the null value). The test compares the lines.

import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.agrona.DirectBuffer;
import org.agrona.concurrent.UnsafeBuffer;
import uk.co.real_logic.sbe.PrimitiveValue;
import uk.co.real_logic.sbe.ir.Ir;
import uk.co.real_logic.sbe.ir.Token;
import uk.co.real_logic.sbe.otf.AbstractTokenListener;
import uk.co.real_logic.sbe.otf.OtfHeaderDecoder;
import uk.co.real_logic.sbe.otf.OtfMessageDecoder;
import uk.co.real_logic.sbe.otf.Types;
import uk.co.real_logic.sbe.xml.IrGenerator;
import uk.co.real_logic.sbe.xml.ParserOptions;
import uk.co.real_logic.sbe.xml.XmlSchemaParser;

public class Decode {
    public static void main(String[] arguments) throws Exception {
        ParserOptions strict =
            ParserOptions.builder().stopOnError(true).warningsFatal(true).build();
        byte[] schema = Files.readAllBytes(Path.of(arguments[0]));
        Ir ir = new IrGenerator().generate(
            XmlSchemaParser.parse(new ByteArrayInputStream(schema), strict));
        OtfHeaderDecoder header = new OtfHeaderDecoder(ir.headerStructure());
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            if (!line.startsWith("#")) {
                String[] parts = line.split(" ");
                decode(ir, header, parts[0], HexFormat.of().parseHex(parts[1]));
            }
        }
    }

    private static void decode(Ir ir, OtfHeaderDecoder header, String sample, byte[] bytes) {
        UnsafeBuffer buffer = new UnsafeBuffer(bytes);
        int template = header.getTemplateId(buffer, 0);
        int version = header.getSchemaVersion(buffer, 0);
        int block = header.getBlockLength(buffer, 0);
        List<Token> message = ir.getMessage(template);
        System.out.println(sample + " " + message.get(0).name() + " " + ir.id() + " " + version);
        int end = OtfMessageDecoder.decode(
            buffer, header.encodedLength(), version, block, message, new Printer(sample));
        if (end != bytes.length || header.getSchemaId(buffer, 0) != ir.id()) {
            System.out.println(sample + " ends at " + end + ", not at " + bytes.length);
        }
    }

    private static final class Printer extends AbstractTokenListener {
        private final String sample;
        private String composite = "";

        Printer(String sample) {
            this.sample = sample;
        }

        private void print(Token field, String value) {
            System.out.println(sample + " " + composite + field.name() + " " + value);
        }

        @Override
        public void onBeginComposite(Token field, List<Token> tokens, int from, int to) {
            composite = field.name() + ".";
        }

        @Override
        public void onEndComposite(Token field, List<Token> tokens, int from, int to) {
            composite = "";
        }

        @Override
        public void onEncoding(
            Token field, DirectBuffer buffer, int index, Token type, int version) {
            Token named = composite.isEmpty() ? field : type;
            if (type.isConstantEncoding()) {
                print(named, type.encoding().constValue().toString());
            } else if (type.arrayLength() > 1) {
                byte[] bytes = new byte[type.arrayLength()];
                buffer.getBytes(index, bytes);
                print(named, HexFormat.of().formatHex(bytes));
            } else {
                print(named, number(buffer, index, type));
            }
        }

        private static String number(DirectBuffer buffer, int index, Token type) {
            PrimitiveValue nothing = type.encoding().applicableNullValue();
            long value = Types.getLong(buffer, index, type.encoding());
            if (type.isOptionalEncoding() && value == nothing.longValue()) {
                return "none";
            }
            boolean wide = type.encoding().primitiveType().name().equals("UINT64");
            return wide ? Long.toUnsignedString(value) : Long.toString(value);
        }

        @Override
        public void onEnum(
            Token field, DirectBuffer buffer, int index, List<Token> tokens, int from, int to,
            int version) {
            long value = Types.getLong(buffer, index, tokens.get(from + 1).encoding());
            String name = "unknown";
            for (int place = from + 1; place < to; place++) {
                if (tokens.get(place).encoding().constValue().longValue() == value) {
                    name = tokens.get(place).name();
                }
            }
            print(field, name);
        }

        @Override
        public void onBitSet(
            Token field, DirectBuffer buffer, int index, List<Token> tokens, int from, int to,
            int version) {
            long bits = Types.getLong(buffer, index, tokens.get(from + 1).encoding());
            List<String> names = new ArrayList<>();
            for (int place = from + 1; place < to; place++) {
                Token choice = tokens.get(place);
                if ((bits >> choice.encoding().constValue().longValue() & 1) == 1) {
                    names.add(choice.name());
                }
            }
            print(field, "[" + String.join(",", names) + "]");
        }
    }
}
