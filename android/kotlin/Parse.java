import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import org.jetbrains.kotlin.cli.FrontendConfigurationKeysKt;
import org.jetbrains.kotlin.cli.jvm.compiler.EnvironmentConfigFiles;
import org.jetbrains.kotlin.cli.jvm.compiler.KotlinCoreEnvironment;
import org.jetbrains.kotlin.com.intellij.openapi.util.Disposer;
import org.jetbrains.kotlin.com.intellij.psi.PsiErrorElement;
import org.jetbrains.kotlin.com.intellij.psi.util.PsiTreeUtil;
import org.jetbrains.kotlin.compiler.plugin.CompilerPluginRegistrar;
import org.jetbrains.kotlin.config.CompilerConfiguration;
import org.jetbrains.kotlin.psi.KtFile;
import org.jetbrains.kotlin.psi.KtPsiFactory;

/** Reads Kotlin files, scripts of Gradle included, with the parser of Kotlin's compiler, and says what is no Kotlin. */
public final class Parse {
  private Parse() {}

  public static void main(String[] arguments) throws Exception {
    CompilerConfiguration configuration = new CompilerConfiguration();
    FrontendConfigurationKeysKt.setExtensionsStorage(configuration, new CompilerPluginRegistrar.ExtensionStorage());
    KotlinCoreEnvironment environment =
        KotlinCoreEnvironment.createForProduction(
            Disposer.newDisposable(), configuration, EnvironmentConfigFiles.JVM_CONFIG_FILES);
    KtPsiFactory factory = new KtPsiFactory(environment.getProject(), false);
    List<String> problems = new ArrayList<>();
    for (String argument : arguments) {
      Path path = Paths.get(argument);
      String text = new String(Files.readAllBytes(path), "UTF-8");
      KtFile file = factory.createFile(path.getFileName().toString(), text);
      for (PsiErrorElement error : PsiTreeUtil.collectElementsOfType(file, PsiErrorElement.class)) {
        long line = text.substring(0, error.getTextOffset()).chars().filter(c -> c == '\n').count() + 1;
        problems.add(path + ":" + line + ": " + error.getErrorDescription());
      }
    }
    problems.forEach(System.err::println);
    System.out.println(arguments.length + " files of Kotlin, " + problems.size() + " problems");
    System.exit(problems.isEmpty() ? 0 : 1);
  }
}
