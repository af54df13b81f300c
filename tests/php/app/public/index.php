<?php
require __DIR__ . '/../src/Invoice.php';
$database = new mysqli(getenv('DB_HOST'), 'app', 'app', 'app');
$rows = $database->query('SELECT cents FROM item WHERE invoice = 1')->fetch_all();
header('Content-Type: application/json');
echo json_encode(['total' => Invoice::total(array_column($rows, 0), 10)]);
