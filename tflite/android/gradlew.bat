@echo off
rem Starts the Gradle of gradle\wrapper\gradle-wrapper.properties by its wrapper, which is not part of the repository.
setlocal
cd /d "%~dp0"
set JAR=gradle\wrapper\gradle-wrapper.jar
if not exist "%JAR%" (
    echo gradlew: %JAR% is missing; an installed Gradle makes it: gradle wrapper --gradle-version 9.5.0 1>&2
    exit /b 1
)
if defined JAVA_HOME (set JAVA="%JAVA_HOME%\bin\java.exe") else (set JAVA=java)
%JAVA% -Xmx64m -jar "%JAR%" %*
exit /b %ERRORLEVEL%
